"""A family's files: written together, into a folder that was tried before the measurement."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctonnx_bench.benchmark.family import workflow
from ctonnx_bench.benchmark.family.workflow import measure_family
from ctonnx_bench.benchmark.workflow import Report
from ctonnx_bench.cases.settings import Settings

Measure = Callable[[Path | None], Report]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, family_document: dict[str, Any], tmp_path: Path) -> Measure:
    """Measures and draws nothing, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workflow, "run_family", lambda settings, labels, *, command, log: family_document)
    monkeypatch.setattr(workflow, "plot_family", lambda document: None)
    monkeypatch.setattr(workflow, "to_png", lambda figure: b"png")
    return lambda output: measure_family(Settings(), (), output, command="ctonnx bench", log=print)


def test_three_files_are_written_and_named(measured: Measure) -> None:
    report = measured(Path("out"))
    assert report.messages == [f"written: out/family.{kind}" for kind in ("json", "md", "png")]
    assert sorted(file.name for file in Path("out").iterdir()) == ["family.json", "family.md", "family.png"]
    assert Path("out/family.png").read_bytes() == b"png"
    assert report.failures == []
    assert measured(None).messages[0] == "written: bench/family.json"
    assert measured(None).messages[0] == "written: bench/family.json, replacing an earlier one"


def test_wrong_outputs_are_failures_after_the_files(measured: Measure, family_document: dict[str, Any]) -> None:
    family_document["cases"][2]["failures"] = ["max |dp| is 1"]
    assert measured(Path("out")).failures == ["expected right outputs, found wrong ones of INT8 | batch 1"]
    assert Path("out/family.md").is_file()


def test_folder_is_tried_before_anything_is_measured(measured: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "run_family", None)
    Path("file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        measured(Path("file/out"))


def test_stopped_command_leaves_nothing(measured: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(document: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "plot_family", stop)
    with pytest.raises(KeyboardInterrupt):
        measured(Path("out"))
    assert not Path("out").exists()
