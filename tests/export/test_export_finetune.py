"""`ctonnx export --precision int8 --finetune`: a trained INT8 model in an export, and what the files state about it."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner
from tests.export.conftest import LOOSE, names, short_search, two_threads

from ctonnx.artifacts.run import Run
from ctonnx.cli.main import main
from ctonnx.parity.acceptance_gates import GATES
from ctonnx.prediction.device.verification import verify
from ctonnx_export.export import ExportResult, export_run
from ctonnx_export.quantization.learned import fine_tuning
from ctonnx_export.quantization.settings import Quantization

pytestmark = pytest.mark.usefixtures("small_network", "converted_once")

FP32 = ["README.md", "bom.cdx.json", "golden.npz", "model.fp32.onnx", "report.json", "report.md"]


def exported(run: Run, output: Path, patch: pytest.MonkeyPatch, log: Any = lambda line: None) -> ExportResult:
    """Exports INT8 with a short search, fine-tuned for two epochs."""
    short_search(patch)
    patch.setitem(GATES, "int8", LOOSE)
    settings = Quantization(samples=8, finetune=True, finetune_epochs=2)
    with two_threads():
        return export_run(run, precisions=["int8"], quantization=settings, output=output, log=log)


def test_export_with_fine_tuning_is_verified_described_and_the_same_again(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[str] = []
    made = exported(small_run, tmp_path / "export", monkeypatch, messages.append)
    int8 = made.models[1]
    facts = json.loads((made.folder / "report.json").read_text(encoding="utf-8"))["precisions"]["int8"]
    learned = facts["learned"]
    assert (learned["images"], learned["epochs"]) == (8, 2)
    assert learned["exactness"]["images"] == 16
    assert 0 <= learned["exactness"]["max_dp"] <= learned["exactness"]["bound"] == 1e-4
    assert [attempt.get("learned") is not None for attempt in facts["attempts"]] == [False, True, True]
    quantization = int8.spec.quantization
    assert quantization is not None
    assert ("learned" in quantization) == learned["chosen"]
    text = (made.folder / "report.md").read_text(encoding="utf-8")
    assert "Fine-tuning: the weights, biases and scales of minmax, integer adds were trained on FP32's outputs" in text
    assert "| minmax, fine-tuned | integer | 0 | " in text
    assert "| minmax, fine-tuned, bias corrected | integer | 0 | " in text
    assert verify(made.file(int8)).failures == ()
    assert any(line.startswith("int8: fine-tuning, epoch 2 of 2: loss ") for line in messages)
    again = exported(small_run, tmp_path / "again", monkeypatch)
    assert (again.folder / "model.int8.onnx").read_bytes() == (made.folder / "model.int8.onnx").read_bytes()


def test_a_chosen_fine_tuned_model_is_the_file_and_its_spec_states_it(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ctonnx_export.quantization.learned import learn

    chosen: list[onnx.ModelProto] = []

    def select(plain: Any, trained: Any, judging: Any, *rest: Any) -> Any:
        chosen.append(trained[0].model)
        return trained[0], judging

    monkeypatch.setattr(learn, "select", select)
    made = exported(small_run, tmp_path / "export", monkeypatch)
    written = onnx.load(made.folder / "model.int8.onnx")
    assert written.graph == chosen[0].graph
    spec = made.models[1].spec
    assert spec.quantization is not None
    learned = spec.quantization["learned"]
    assert {name: learned[name] for name in ("images", "epochs", "from", "bias_corrected")} == {
        "images": 8,
        "epochs": 2,
        "from": "minmax, integer adds",
        "bias_corrected": False,
    }
    assert learned["exactness"]["bound"] == 1e-4
    assert spec.quantization["bias_correction"] == {"images": 0}
    text = (made.folder / "report.md").read_text(encoding="utf-8")
    assert "bias not corrected after the training. Selected: minmax, fine-tuned, integer adds" in text


def test_ctrl_c_during_the_fine_tuning_keeps_fp32_alone(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fine_tuning, "_difference", interrupt)
    with pytest.raises(KeyboardInterrupt):
        exported(small_run, tmp_path / "export", monkeypatch)
    assert names(tmp_path / "export") == FP32
    assert names(tmp_path) == ["export"]


def test_a_fine_tuned_model_that_fails_its_gate_is_not_written(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_search(monkeypatch)
    output = tmp_path / "export"
    command = ["export", str(small_run.folder), "--precision", "int8", "--finetune", "--finetune-epochs", "1"]
    monkeypatch.setitem(GATES, "int8", GATES["int8"].__class__(max_dp=-1.0, min_agreement=0.0))
    result = CliRunner().invoke(main, [*command, "--samples", "8", "--output", str(output)])
    assert result.exit_code == 1, result.output
    assert names(output) == FP32
    facts = json.loads((output / "report.json").read_text(encoding="utf-8"))["precisions"]["int8"]
    assert facts["failures"]
    assert "--finetune" not in facts["advice"]
