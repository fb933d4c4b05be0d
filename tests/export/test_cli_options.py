"""Invalid options of `ctonnx export` are rejected before any work, and its help loads no NumPy."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from ctonnx.artifacts.run import Run
from ctonnx.cli.main import main
from ctonnx.errors import DataError
from ctonnx_export.quantization.settings import Quantization


@pytest.mark.parametrize("value", ["int4", "fp16;int8", "", "all,fp16"])
def test_unknown_precision_is_a_usage_error(value: str) -> None:
    result = CliRunner().invoke(main, ["export", "--precision", value])
    assert result.exit_code == 2
    assert "expected fp32, fp16, int8, joined by commas, or all; found " in result.stderr


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        (("--samples", "9"), "int8 with --samples"),
        (("--precision", "fp16", "--target", "arm"), "int8 with --target"),
        (("--labels", "labels.csv"), "int8 with --labels"),
        (("--finetune",), "int8 with --finetune"),
        (("--precision", "fp16", "--finetune"), "int8 with --finetune"),
        (("--finetune-epochs", "3"), "int8 with --finetune-epochs"),
        (("--max-drop", "1"), "fp16 or int8 with --max-drop"),
        (("--min-agreement", "90"), "fp16 or int8 with --min-agreement"),
        (("--images", "."), "fp16 or int8 with --images"),
    ],
)
def test_option_without_effect_is_a_usage_error(options: tuple[str, ...], needed: str) -> None:
    result = CliRunner().invoke(main, ["export", *options])
    assert result.exit_code == 2
    assert f"expected --precision {needed}, found --precision fp" in result.stderr


def test_epochs_of_a_fine_tuning_that_was_not_asked_for_are_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["export", "--precision", "int8", "--finetune-epochs", "3"])
    assert result.exit_code == 2
    assert "expected --finetune with --finetune-epochs, found none" in result.stderr


def test_fine_tuning_reaches_the_settings(trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def exported(run: Run, *, quantization: Quantization, **others: object) -> None:
        asked.append(quantization)
        raise DataError("seen enough")

    monkeypatch.setattr("ctonnx_export.export.export_run", exported)
    monkeypatch.chdir(tmp_path)
    command = ["export", str(trained_run.folder), "--precision", "int8", "--finetune"]
    CliRunner().invoke(main, command)
    CliRunner().invoke(main, [*command, "--finetune-epochs", "2"])
    CliRunner().invoke(main, command[:-1])
    assert [(settings.finetune, settings.finetune_epochs) for settings in asked] == [(True, 6), (True, 2), (False, 6)]


@pytest.mark.parametrize(
    ("options", "calibrate"), [((), "scans"), (("--calibrate", "."), "."), (("--calibrate", "scans"), "scans")]
)
def test_labels_file_calibrates_on_its_folder_unless_another_is_named(
    options: tuple[str, ...], calibrate: str, trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def exported(run: Run, *, quantization: Quantization, **others: object) -> None:
        asked.append(quantization)
        raise DataError("seen enough")

    monkeypatch.setattr("ctonnx_export.export.export_run", exported)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    command = ["export", str(trained_run.folder), "--precision", "int8", "--labels", "scans/labels.csv", *options]
    assert "seen enough" in CliRunner().invoke(main, command).stderr
    assert asked == [Quantization(calibrate=Path(calibrate), labels=Path("scans/labels.csv"))]


def test_help_does_not_wait_for_numpy() -> None:
    code = "import sys, ctonnx_export.cli; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxsim"])
def test_a_missing_package_of_the_extra_is_reported_before_the_work(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the extra `train` alone there is one of the three."""
    monkeypatch.setattr("ctonnx_export.cli.find_spec", lambda name: None if name == missing else find_spec(name))
    monkeypatch.setattr("ctonnx.artifacts.run.find_run", lambda run: Run(tmp_path))
    result = CliRunner().invoke(main, ["export"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: 'ctonnx export' needs the package '{missing}', which is not installed; ")
    assert "newest run" not in result.stderr
