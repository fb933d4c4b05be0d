"""A step runs in a process of its own; expected errors are failures of the step."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from ctonnx.errors import ModelError
from ctonnx_bench.gpu import worker
from ctonnx_bench.gpu.settings import KitSettings
from ctonnx_bench.gpu.step import Context, Recorded
from ctonnx_bench.gpu.worker import main, run_step


def test_expected_error_is_recorded_and_any_other_is_raised(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context()
    errors = iter([ModelError("no model"), ZeroDivisionError("a bug")])

    def fail(given: Context) -> None:
        given.fact("before", 1)
        raise next(errors)

    monkeypatch.setattr(worker, "import_module", lambda name: SimpleNamespace(run=fail))
    run_step("export", context)
    assert (context.recorded.facts, context.recorded.failures) == ({"before": 1}, ["no model"])
    with pytest.raises(ZeroDivisionError):
        run_step("export", context)


def test_task_file_names_the_step_and_its_surroundings(
    tiny: KitSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Context] = []
    monkeypatch.setattr(worker, "import_module", lambda name: SimpleNamespace(run=seen.append))
    task, record = tmp_path / "task.json", tmp_path / "record.json"
    values = {
        "step": "facts",
        "settings": tiny.as_dict(),
        "work": str(tmp_path / "w"),
        "output": "out",
        "record": str(record),
        "seconds": 50,
    }
    task.write_text(json.dumps(values), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["worker", str(task)])
    main()
    [context] = seen
    assert (context.settings, context.work, context.output) == (tiny, tmp_path / "w", Path("out"))
    assert 40 < context.left_s <= 50
    context.fact("a", 1)
    assert Recorded.read(record).facts == {"a": 1}
