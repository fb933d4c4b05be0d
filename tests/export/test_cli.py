"""`ctonnx export`: precisions, targets, Triton, and the output if a model fails its gate."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tests.export.conftest import LOOSE, names, short_search

from ctonnx.artifacts.golden import load_golden
from ctonnx.artifacts.run import Run
from ctonnx.cli.main import main
from ctonnx.parity.acceptance_gates import GATES, Gate
from ctonnx.prediction.device.verification import verify
from ctonnx.prediction.model_selection import find_model
from ctonnx_export.export import ExportResult

pytestmark = pytest.mark.usefixtures("small_network", "converted_once")


def test_int8_that_fails_its_gate_is_not_written_and_the_report_gives_the_reason(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GATES, "fp16", LOOSE)
    monkeypatch.setitem(GATES, "int8", Gate(max_dp=-1.0, min_agreement=0.0))
    short_search(monkeypatch)
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "export"
    command = ["export", str(small_run.folder), "--precision", "all", "--samples", "8", "--output", str(output)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: int8 failed its gate: max |dp| is ")
    assert result.stderr.endswith(f"Not written; for suggestions see {output / 'report.md'}\n")
    assert "model.int8.onnx" not in names(output)
    assert "model.fp16.onnx" in names(output)
    text = (output / "report.md").read_text()
    assert "**INT8 failed its gate and was not written**: max |dp| is " in text
    assert "`--samples`" in text
    assert json.loads((output / "report.json").read_text())["precisions"]["int8"]["passed"] is False
    assert list(load_golden(output / "golden.npz").model_outputs) == ["fp32", "fp16"]
    assert find_model(output).name == "model.fp32.onnx"


def test_earlier_export_with_a_precision_that_fails_now_is_kept(
    small_run: Run, small_export: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, triton = tmp_path / "export", tmp_path / "models"
    shutil.copytree(small_export.folder, output)
    monkeypatch.setitem(GATES, "int8", Gate(max_dp=-1.0, min_agreement=0.0))
    short_search(monkeypatch)
    monkeypatch.chdir(tmp_path)
    command = ["export", str(small_run.folder), "--precision", "int8", "--samples", "8", "--output", str(output)]
    result = CliRunner().invoke(main, [*command, "--triton", str(triton)])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].endswith(
        f". Nothing was written: the earlier export in '{output}' contains this precision and was kept; choose another "
        f"--output for the models that passed; for suggestions see {output / 'refused.md'}"
    )
    assert result.stdout == ""
    assert not triton.exists()
    assert names(output) == sorted([*names(small_export.folder), "refused.json", "refused.md"])
    for file in small_export.folder.iterdir():
        assert (output / file.name).read_bytes() == file.read_bytes()
    text = (output / "refused.md").read_text()
    assert "**INT8 failed its gate and was not written**: max |dp| is " in text
    assert text.splitlines()[2] == (
        "**Nothing of this export was written: the earlier export in this folder was kept.**"
    )
    assert json.loads((output / "refused.json").read_text())["files"] == {}
    assert verify(output / "model.int8.onnx").failures == ()
    monkeypatch.setitem(GATES, "int8", LOOSE)
    assert CliRunner().invoke(main, command).exit_code == 0
    assert "refused.md" not in names(output)


@pytest.mark.parametrize(
    ("options", "amx", "named"),
    [
        (("--precision", "int8"), True, True),
        (("--precision", "int8"), False, False),
        (("--precision", "int8", "--target", "amx"), True, False),
        ((), True, False),
    ],
)
def test_target_of_a_processor_with_amx_is_named(
    options: tuple[str, ...], amx: bool, named: bool, small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GATES, "int8", LOOSE)
    monkeypatch.setattr("ctonnx.system.cpu.has_amx", lambda: amx)
    short_search(monkeypatch)
    samples = ("--samples", "8") if options else ()
    result = CliRunner().invoke(
        main, ["export", str(small_run.folder), *options, *samples, "--output", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    line = "this processor has AMX: INT8 for --target amx gives the same outputs, faster"
    assert (line in result.stdout.splitlines()) is named


def test_triton_repository_is_written_in_addition_to_the_export(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leave_behind: Callable[[Path], Path]
) -> None:
    monkeypatch.setitem(GATES, "fp16", Gate(max_dp=1.0, min_agreement=0.9))
    (tmp_path / "triton").mkdir()
    left = leave_behind(tmp_path / "triton/models")
    command = ["export", str(small_run.folder), "--precision", "fp16", "--output", str(tmp_path / "export")]
    result = CliRunner().invoke(main, [*command, "--triton", str(tmp_path / "triton/models")])
    assert result.exit_code == 0, result.output
    removed = f"removed 1 temporary file or folder of a killed process from '{tmp_path / 'triton'}': '{left.name}'"
    assert removed in result.stderr.splitlines()
    assert not left.exists()
    fp32, fp16, unshown, definition, *_ = result.stdout.splitlines()
    assert fp32.startswith("fp32: gate passed: max |dp| ")
    assert fp16.startswith("fp16: gate passed: max |dp| ")
    # Of few images that all agree.
    assert unshown.startswith(
        "fp16: the 95 % interval does not confirm agreement of 90 %: the interval reaches down to "
    )
    assert definition == "max |dp|: the largest absolute difference of any class's probability over the compared images"
    assert names(tmp_path / "triton/models") == ["small_fp16", "small_fp32"]
    again = CliRunner().invoke(main, [*command, "--triton", str(tmp_path / "triton/models")])
    assert again.exit_code == 2
    assert "found files in it; choose another --triton" in again.stderr


@pytest.mark.parametrize(("output", "triton"), [("out", "out"), ("out", "out/models"), ("models/out", "models")])
def test_triton_repository_within_the_export_is_rejected_before_the_work(
    output: str, triton: str, small_run: Run, tmp_path: Path
) -> None:
    command = ["export", str(small_run.folder), "--output", str(tmp_path / output), "--triton", str(tmp_path / triton)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: expected separate folders for the model repository and the export, found --triton "
        f"'{tmp_path / triton}' and the export in '{tmp_path / output}'; choose another --triton\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_added_images_and_the_images_that_judge_are_in_the_output(
    small_run: Run, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GATES, "int8", LOOSE)
    short_search(monkeypatch)
    (tmp_path / "scans").mkdir()
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 64), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"scans/{seed}.png")
    output = tmp_path / "export"
    command = ["export", str(small_run.folder), "--precision", "int8", "--samples", "8", "--output", str(output)]
    result = CliRunner().invoke(main, [*command, "--images", str(tmp_path / "scans")])
    assert result.exit_code == 0, result.output
    assert "comparing on 19 images: 8 validation, 8 training (not used for calibration), 3 added" in result.stderr
    line = next(line for line in result.stdout.splitlines() if line.startswith("int8: gate passed: "))
    assert re.search(
        r"agreement [\d.]+% \[[\d.]+%, [\d.]+%\] on 19 images in folds, each by what the others chose; ", line
    )
    facts = json.loads((output / "report.json").read_text())["precisions"]["int8"]
    assert facts["judged"]["judging"] == {"valid": 8, "train": 8, "added": 3}
    assert sum(facts["judged"]["folds"].values()) == 5
    assert facts["accuracy"]["images"] == 16
    assert facts["agreement_on_test"]["images"] == 8
    assert "| images compared | 8 | 19 (valid 8, train 8, added 3) |" in (output / "report.md").read_text()
