"""`ctonnx evaluate --stress` as it is typed, on a run and on an exported model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.train.cli.test_evaluate import QUICK, ctonnx, document
from tests.train.stress.made import document as made_document

from ctonnx.artifacts.run import Run
from ctonnx.system.files import sha256_of
from ctonnx_train.stress.transforms import TRANSFORMS

pytestmark = pytest.mark.usefixtures("folder", "no_cuda")


@pytest.fixture
def few_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stress test of three changes."""
    chosen = [one for one in TRANSFORMS if one.name in ("lower_contrast", "jpeg", "inverted")]
    monkeypatch.setattr("ctonnx_train.stress.stress_test.TRANSFORMS", chosen)


@pytest.mark.usefixtures("few_changes")
def test_a_stress_test_of_a_run_is_reported_and_kept_for_the_model_card(
    copied_run: Run, phantoms: Path, folder: Path
) -> None:
    result = ctonnx(copied_run.folder, phantoms, "--stress", *QUICK, "-o", "out")
    assert result.exit_code == 0, result.output
    assert "\n## Stress test\n" in result.stdout
    assert "\nstress test: 3 changes in 7 strengths, 8 scans\n" in result.stderr
    assert f"\n{copied_run.stress_file}: wrote the stress test, for the model card of ctonnx export\n" in result.stderr
    kept = json.loads(copied_run.stress_file.read_text(encoding="utf-8"))
    assert kept["checkpoint_sha256"] == kept["model"]["sha256"] == sha256_of(copied_run.weights_file)
    assert (kept["model"]["file"], kept["data"]["name"]) == ("model.safetensors", "phantoms")
    assert len(kept["data"]["fingerprint"]) == 64
    assert kept == json.loads((folder / "out" / "evaluation.json").read_text(encoding="utf-8"))["stress"]
    assert [(one["title"], len(one["strengths"])) for one in kept["transforms"]] == [
        ("lower contrast", 3),
        ("JPEG", 3),
        ("inverted", 1),
    ]
    report = (folder / "out" / "report.md").read_text(encoding="utf-8")
    assert "## Stress test" in report
    assert report.endswith("\n![stress](stress.png)\n")
    assert (folder / "out" / "stress.png").stat().st_size > 10_000
    again = ctonnx(copied_run.folder, phantoms, *QUICK, "-o", "out")
    assert again.exit_code == 0, again.output
    assert not (folder / "out" / "stress.png").exists()


@pytest.mark.usefixtures("few_changes")
def test_a_checkpoint_and_its_exported_model_change_the_same_decisions(
    copied_run: Run, model: Path, phantoms: Path
) -> None:
    models = copied_run.folder, model
    found = [document(ctonnx(one, phantoms, "--stress", *QUICK, "--json"))["stress"] for one in models]
    measured = {"file": model.name, "kind": "ONNX fp32", "precision": "fp32", "sha256": sha256_of(model)}
    assert found[1] == found[0] | {"model": measured}
    assert found[1]["decisions"] is not None


@pytest.mark.parametrize(("bound", "code"), [("5%", 1), ("5", 1), ("100%", 0)])
def test_fail_over_is_a_gate(
    bound: str, code: int, model: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctonnx_train.stress.stress_test.stress_test", lambda *given, **options: made_document())
    result = ctonnx(model, phantoms, "--stress", "--fail-over", bound, *QUICK)
    assert result.exit_code == code
    line = "JPEG, quality 50: 8.0% of the decisions change (8 of 100): 6 flipped, 2 newly referred\n"
    assert (line in result.stderr) == (code == 1)
    assert "## Stress test" in result.stdout
    assert ctonnx(model, phantoms, "--stress", *QUICK).exit_code == 0


def test_fail_over_alone_is_a_misuse(run: str, phantoms: Path) -> None:
    result = ctonnx(run, phantoms, "--fail-over", "5%")
    assert result.exit_code == 2
    assert "warning" not in result.stderr
    assert result.stderr.endswith("Error: expected --fail-over with --stress, found it alone\n")


@pytest.mark.parametrize(
    ("bound", "line"),
    [
        ("0.05", "warning: --fail-over is a percentage: 0.05 %: did you mean 5?\n"),
        ("0.5%", "warning: --fail-over is a percentage: 0.5 %: did you mean 50?\n"),
        ("1", ""),
        ("0", ""),
    ],
)
def test_fail_over_that_looks_like_a_share_has_a_warning(bound: str, line: str) -> None:
    result = ctonnx("none", "none", "--stress", "--fail-over", bound)  # the model is missing
    assert (result.exit_code, "--fail-over is a percentage" in result.stderr) == (2, bool(line))
    assert result.stderr.startswith(line)


def test_an_exported_model_needs_no_pytorch(model: Path, phantoms: Path) -> None:
    """Neither for its metrics nor for its stress test."""
    program = (
        "import sys\n"
        "import ctonnx_train.stress.stress_test as stress\n"
        "stress.TRANSFORMS = stress.TRANSFORMS[:1]\n"
        "from ctonnx.cli.main import main\n"
        f"main(['evaluate', {str(model)!r}, {str(phantoms)!r}, '--stress', '--replicates', '0', '-o', 'out'], "
        "standalone_mode=False)\n"
        "print(sorted({'torch', 'torchvision', 'lightning'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]"
    assert "## Stress test" in result.stdout
