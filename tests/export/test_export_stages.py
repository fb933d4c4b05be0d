"""Each model is written as soon as it has passed, and earlier models are not removed before the end."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.export.conftest import ALL, LOOSE, names

from ctonnx.artifacts.run import Run
from ctonnx.cli.main import main
from ctonnx.parity.acceptance_gates import GATES
from ctonnx.prediction.device.verification import verify
from ctonnx_export import export
from ctonnx_export.export import ExportResult, export_run
from ctonnx_export.models import make_fp16
from ctonnx_export.quantization.settings import Quantization

pytestmark = pytest.mark.usefixtures("small_network", "converted_once")

FP32 = ["README.md", "bom.cdx.json", "golden.npz", "model.fp32.onnx", "report.json", "report.md"]
BOTH = ["README.md", "bom.cdx.json", "golden.npz", "model.fp16.onnx", "model.fp32.onnx", "report.json", "report.md"]


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during INT8; the network of two epochs passes FP16's gate."""

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(GATES, "fp16", LOOSE)
    monkeypatch.setattr(export, "make_int8", interrupt)


def facts_of(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return facts


def stop(run: Run, output: Path) -> list[str]:
    """Exports all precisions until Ctrl-C, and returns the logged messages."""
    messages: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        export_run(run, precisions=ALL, quantization=Quantization(samples=8), output=output, log=messages.append)
    return messages


@pytest.mark.usefixtures("stopped")
def test_ctrl_c_during_int8_leaves_a_complete_export_of_the_models_that_passed(small_run: Run, tmp_path: Path) -> None:
    output = tmp_path / "export"
    messages = stop(small_run, output)
    assert names(output) == BOTH
    assert os.listdir(tmp_path) == ["export"]
    for precision in ("fp32", "fp16"):
        assert verify(output / f"model.{precision}.onnx").failures == ()
    assert [line for line in messages if line.startswith("written: ")] == [
        f"written: FP32 in '{output}'; next: FP16 and INT8",
        f"written: FP32 and FP16 in '{output}'; next: INT8",
    ]
    assert messages[-1] == (
        f"stopped before the end: '{output}' keeps FP32 and FP16, which passed; run the export again for INT8"
    )


@pytest.mark.usefixtures("stopped")
def test_report_and_card_list_missing_precisions(small_run: Run, tmp_path: Path) -> None:
    stop(small_run, tmp_path / "export")
    assert facts_of(tmp_path / "export")["pending"] == ["int8"]
    line = (
        "**INT8 is missing**: requested, but not exported yet when this was written. If the export was interrupted, "
        "complete it with `ctonnx export small --precision fp32,fp16,int8`.\n"
    )
    for name in ("report.md", "README.md"):
        assert line in (tmp_path / "export" / name).read_text(encoding="utf-8")


def test_finished_export_has_nothing_pending_and_the_bytes_of_one_written_once(
    small_run: Run, small_export: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert facts_of(small_export.folder)["pending"] == []
    assert " missing**" not in (small_export.folder / "report.md").read_text(encoding="utf-8")
    monkeypatch.setitem(GATES, "fp16", LOOSE)
    staged = export_run(small_run, precisions=["fp16"], output=tmp_path / "staged").folder
    monkeypatch.setattr(export._Folder, "update", lambda *arguments: None)
    once = export_run(small_run, precisions=["fp16"], output=tmp_path / "once").folder
    for name in ("model.fp32.onnx", "model.fp16.onnx", "golden.npz", "README.md"):
        assert (staged / name).read_bytes() == (once / name).read_bytes(), name


def test_folder_can_be_written_without_hard_links(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("no hard links here")

    monkeypatch.setitem(GATES, "fp16", LOOSE)
    monkeypatch.setattr(os, "link", fail)
    export_run(small_run, precisions=["fp16"], output=tmp_path / "export")
    assert names(tmp_path / "export") == BOTH


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize(
    ("earlier", "left"), [(["fp32"], BOTH), (["fp32", "fp16"], BOTH), (["fp32", "int8"], None), (list(ALL), None)]
)
def test_models_of_an_earlier_export_are_not_lost_to_ctrl_c(
    earlier: list[str], left: list[str] | None, small_run: Run, small_export: ExportResult, tmp_path: Path
) -> None:
    output = tmp_path / "export"
    shutil.copytree(small_export.folder, output)
    for precision in set(ALL) - set(earlier):
        (output / f"model.{precision}.onnx").unlink()
    before = {file.name: file.read_bytes() for file in output.iterdir()}
    stop(small_run, output)
    assert names(output) == (left or sorted(before))
    if left is None:
        assert {file.name: file.read_bytes() for file in output.iterdir()} == before


def test_earlier_model_that_was_not_requested_stays_until_the_end(
    small_run: Run, small_export: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small_export.folder, tmp_path / "export")
    seen: list[bool] = []

    def look(*arguments: Any) -> Any:
        seen.append((tmp_path / "export/model.int8.onnx").exists())
        return make_fp16(*arguments)

    monkeypatch.setitem(GATES, "fp16", LOOSE)
    monkeypatch.setattr(export, "make_fp16", look)
    export_run(small_run, precisions=["fp16"], output=tmp_path / "export")
    assert seen == [True]
    assert names(tmp_path / "export") == BOTH


def test_rejected_model_is_logged_while_others_are_pending(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "make_int8", interrupt)
    messages: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        export_run(
            small_run,
            precisions=ALL,
            quantization=Quantization(samples=8),
            output=tmp_path / "export",
            min_agreement=1.0,
            max_drop=0.0,
            log=messages.append,
        )
    facts = facts_of(tmp_path / "export")
    assert facts["pending"] == ["int8"]
    if facts["precisions"]["fp16"]["passed"]:
        assert names(tmp_path / "export") == BOTH
    else:
        assert names(tmp_path / "export") == FP32
        assert any(re.search(r"^fp16: .*: rejected: .* is .*, at (least|most) .*$", line) for line in messages)


def test_threads_reach_the_export(monkeypatch: pytest.MonkeyPatch, small_run: Run, tmp_path: Path) -> None:
    asked: list[int | None] = []

    def note(threads: int | None) -> Any:
        asked.append(threads)
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "computing_threads", note)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["export", str(small_run.folder), "--threads", "3", "--output", "out"])
    assert (result.exit_code, asked) == (130, [3])
