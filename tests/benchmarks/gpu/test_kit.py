"""The kit: order, a report after each step, a failing step, the budget, and signals; the steps are small programs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ctonnx_bench.gpu import kit
from ctonnx_bench.gpu.kit import Kit, run_kit
from ctonnx_bench.gpu.report import files
from ctonnx_bench.gpu.settings import KitSettings
from ctonnx_bench.gpu.step import Step
from ctonnx_bench.measurement import processes

RunKit = Callable[..., Kit]

# Steps of the tests, by name.
STEPS = """
import os, signal, sys, time
from types import SimpleNamespace
from ctonnx_bench.gpu import worker
from ctonnx_bench.gpu.step import Context

def good(context: Context) -> None:
    context.fact("thread", os.environ.get("TORCH_COMPILE_DISABLE"))
    print("all is well")

def failing(context: Context) -> None:
    context.fact("before", 1)
    print("about to fail")
    raise RuntimeError("no luck")

def wrong(context: Context) -> None:
    context.fail("expected 1, found 2")
    context.fact("after", 2)

def partial(context: Context) -> None:
    context.has_time(1000, "a part")
    context.note("the rest was measured")

def endless(context: Context) -> None:
    context.fact("begun", True)
    time.sleep(600)

def dead(context: Context) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)

worker.import_module = lambda name: SimpleNamespace(run=globals()[name.rpartition(".")[2]])
worker.main()
"""


def steps_of(*names: str, most_s: float = 60.0) -> list[Step]:
    return [Step(name=name, title=name.title(), most_s=most_s, least_s=1.0) for name in names]


@pytest.fixture
def run(tiny: KitSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunKit:
    """Function that runs the kit with steps by their names."""
    program = tmp_path / "steps.py"
    program.write_text(STEPS, encoding="utf-8")

    def launch(command: Sequence[str], folder: Path, limit: float | None) -> Any:
        return processes.launch([sys.executable, str(program), command[-1]], folder, limit)

    monkeypatch.setattr(kit, "launch", launch)

    def start(*names: str, budget_s: float = 120.0, **options: Any) -> Kit:
        settings = replace(tiny, budget_s=budget_s, thin=False)
        steps = steps_of(*names, **options)
        monkeypatch.chdir(tmp_path)
        return run_kit(settings, Path("out"), command="kit", log=lambda line: None, steps=steps)

    return start


def report(tmp_path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((tmp_path / "out/gpu-report.json").read_text(encoding="utf-8"))
    return document


def test_steps_run_in_order_and_the_reports_are_written_after_each(
    run: RunKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[list[str], bool]] = []

    def note(document: dict[str, Any], folder: Path) -> None:
        written.append(([step["step"] for step in document["steps"]], document["complete"]))
        files.write_reports(document, folder)

    monkeypatch.setattr(kit, "write_reports", note)
    found = run("good", "wrong", "good")
    assert written == [([], False), (["good"], False), (["good", "wrong"], False), (["good", "wrong", "good"], True)]
    assert [result.state for result in found.results] == ["passed", "failed", "passed"]
    assert (found.passed, found.exit_code) == (False, 1)
    assert "| Wrong | failed |" in (tmp_path / "out/gpu-report.md").read_text(encoding="utf-8")


def test_kit_has_passed_if_every_step_has(run: RunKit, tmp_path: Path) -> None:
    found = run("good")
    assert (found.passed, found.exit_code) == (True, 0)
    document = report(tmp_path)
    assert (document["passed"], document["complete"], document["schema_version"]) == (True, True, 1)
    assert document["steps"][0]["facts"] == {"thread": "1"}  # torch's compiler is off in the rehearsal
    assert "TORCH_COMPILE_DISABLE" not in os.environ


def test_failing_step_is_recorded_with_its_error_and_the_kit_goes_on(run: RunKit, tmp_path: Path) -> None:
    found = run("failing", "dead", "good")
    first, second, third = report(tmp_path)["steps"]
    assert (first["state"], first["reason"]) == ("failed", "RuntimeError: no luck")
    assert first["output"][0] == "about to fail"
    assert first["output"][-1] == "RuntimeError: no luck"
    assert first["facts"] == {"before": 1}
    assert second["state"] == "failed"
    assert "without a message" in second["reason"]
    assert third["state"] == "passed"
    assert found.exit_code == 1


def test_recorded_failure_fails_the_step_and_its_later_values_are_kept(run: RunKit, tmp_path: Path) -> None:
    run("wrong")
    [step] = report(tmp_path)["steps"]
    assert (step["state"], step["reason"], step["facts"]) == ("failed", "expected 1, found 2", {"after": 2})


def test_step_without_a_part_has_not_passed(run: RunKit, tmp_path: Path) -> None:
    found = run("partial")
    [step] = report(tmp_path)["steps"]
    assert (step["state"], step["failures"], step["notes"]) == ("incomplete", [], ["the rest was measured"])
    assert step["reason"] == step["left_out"][0]
    assert step["reason"].startswith("a part: left out, about 1000 s needed")
    assert (found.passed, found.exit_code) == (False, 1)
    assert "| Partial | incomplete |" in (tmp_path / "out/gpu-report.md").read_text(encoding="utf-8")


def test_step_that_takes_too_long_is_cut_and_its_values_are_kept(run: RunKit, tmp_path: Path) -> None:
    run("endless", "good", most_s=5.0)
    first, second = report(tmp_path)["steps"]
    assert (first["state"], first["reason"]) == ("cut", "it had not ended after 5 s")
    assert first["facts"] == {"begun": True}
    assert second["state"] == "passed"


def test_step_without_time_in_the_budget_is_left_out_with_the_reason(run: RunKit, tmp_path: Path) -> None:
    found = run("endless", "good", budget_s=12.0)
    first, second = report(tmp_path)["steps"]
    assert first["state"] == "cut"
    assert re.fullmatch(r"it had not ended after \d s, the rest of the budget", first["reason"])
    assert (second["state"], second["reason"]) == (
        "left out",
        "0 s of the budget of 12 s left, 1 s needed",
    )
    assert (found.exit_code, found.seconds < 30) == (1, True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_in_the_middle_leaves_the_steps_before(
    number: int, code: int, tmp_path: Path, tiny: KitSettings
) -> None:
    program = tmp_path / "steps.py"
    program.write_text(STEPS, encoding="utf-8")
    main = tmp_path / "main.py"
    main.write_text(
        f"""
import sys
from pathlib import Path
from ctonnx_bench.gpu import kit
from ctonnx_bench.gpu.settings import KitSettings
from ctonnx_bench.gpu.step import Step
real = kit.launch
kit.launch = lambda command, folder, limit: real([sys.executable, {str(program)!r}, command[-1]], folder, limit)
steps = [Step(name=name, title=name, most_s=60) for name in ("good", "endless", "wrong")]
settings = KitSettings.from_dict({ {**tiny.as_dict(), "thin": False}!r})
sys.exit(kit.run_kit(settings, Path({str(tmp_path / "out")!r}), command="kit", log=print, steps=steps).exit_code)
""",
        encoding="utf-8",
    )
    process = subprocess.Popen([sys.executable, str(main)], stdout=subprocess.PIPE)
    record, until = tmp_path / "out/work/endless/record.json", time.monotonic() + 60
    while not record.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert [step["step"] for step in report(tmp_path)["steps"]] == ["good"]
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    document = report(tmp_path)
    assert [step["state"] for step in document["steps"]] == ["passed", "cut", "left out"]
    assert document["steps"][1]["facts"] == {"begun": True}
    assert document["steps"][1]["reason"].startswith("stopped by ")
    assert (document["passed"], document["complete"]) == (False, True)
