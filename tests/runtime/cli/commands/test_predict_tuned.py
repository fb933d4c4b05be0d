"""`ctonnx predict --tuned` uses the sweep's best settings for this device, or fails."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ctonnx.cli.main import main
from ctonnx.inference.tuning import Setting, Tuning, save_tuning
from ctonnx.prediction.device import fastest_provider
from ctonnx.prediction.predictor import Predictor

ONE = Setting(threads=1, workers=1, batch_size=1, spinning=False, images_per_s=1.0)
MANY = Setting(threads=2, workers=2, batch_size=2, spinning=True, images_per_s=2.0)
MODEL = Path("runs/tiny/export/model.fp32.onnx")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Records the options with which predictors are opened."""
    noted: list[dict[str, Any]] = []
    original = Predictor.__init__

    def note(self: Predictor, *arguments: Any, **options: Any) -> None:
        noted.append(options)
        original(self, *arguments, **options)

    monkeypatch.setattr(Predictor, "__init__", note)
    return noted


def predict(*words: str) -> Result:
    return CliRunner().invoke(main, ["predict", *words])


def test_few_and_many_images_have_their_own_settings(
    workspace: Path, phantoms: Path, opened: list[dict[str, Any]]
) -> None:
    save_tuning(MODEL, Tuning(one=ONE, many=MANY), provider="cpu")
    scans = sorted((phantoms / "train").rglob("*.png"))[:8]
    result = predict("--tuned", *map(str, scans[:7]))
    assert result.exit_code == 0, result.output
    assert "tuned: threads 1, workers 1, batch 1, spinning off\n" in result.stderr
    assert f"model: {MODEL} (fp32 on cpu, the newest run's)" in result.stderr
    result = predict("--tuned", "--model", str(MODEL), *map(str, scans))
    assert "tuned: threads 2, workers 2, batch 2, spinning on\n" in result.stderr
    assert [(item["threads"], item["workers"], item["spinning"]) for item in opened] == [(1, 1, False), (2, 2, True)]


def test_model_without_a_tuning_is_rejected(workspace: Path) -> None:
    result = predict("--tuned", "scan.png")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "found none; make it on this device with: ctonnx bench --sweep threads --provider cpu" in result.stderr


def test_tuning_of_another_file_is_rejected(workspace: Path) -> None:
    save_tuning(MODEL, Tuning(one=ONE, many=MANY), provider="cpu")
    with MODEL.open("ab") as file:
        file.write(b"\0")
    result = predict("--tuned", "scan.png")
    assert result.exit_code == 2
    assert "found one for model_sha256" in result.stderr


def test_options_that_the_tuning_sets_are_rejected_before_auto_measures(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastest_provider, "fastest_provider", lambda *arguments, **options: pytest.fail("measured"))
    result = predict("--tuned", "--threads", "1", "--provider", "auto", "scan.png")
    assert (result.exit_code, "expected --tuned without --threads" in result.stderr) == (2, True)


@pytest.mark.parametrize("option", ["--threads", "--batch-size"])
def test_options_that_the_tuning_sets_are_rejected(workspace: Path, option: str) -> None:
    result = predict("--tuned", option, "1", "scan.png")
    assert result.exit_code == 2
    assert "expected --tuned without --threads, --batch-size and --fallback: it sets them" in result.stderr
