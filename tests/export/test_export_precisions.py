"""FP16 and INT8 in an export: written if they agree, reported if they do not."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tests.export.conftest import ALL, LOOSE, names, two_threads
from tests.runtime.artifacts.provenance.test_bom import assert_valid, metrics

from ctonnx.artifacts.golden import load_golden
from ctonnx.artifacts.provenance.bom import BOM_FILE
from ctonnx.artifacts.run import Run
from ctonnx.errors import DataError
from ctonnx.parity.acceptance_gates import GATES
from ctonnx.prediction.device.verification import verify
from ctonnx.prediction.model_selection import find_model
from ctonnx.prediction.predictor import Predictor
from ctonnx_export import models
from ctonnx_export.export import ExportResult, export_run
from ctonnx_export.graph.conversion import convert
from ctonnx_export.graph.fp16 import to_half
from ctonnx_export.quantization.settings import Quantization

pytestmark = pytest.mark.usefixtures("small_network", "converted_once")


def test_folder_contains_a_model_of_each_precision(small_export: ExportResult) -> None:
    models = [f"model.{precision}.onnx" for precision in sorted(ALL)]
    assert names(small_export.folder) == [
        "README.md",
        "bom.cdx.json",
        "golden.npz",
        *models,
        "report.json",
        "report.md",
    ]
    sizes = {made.precision: small_export.file(made).stat().st_size for made in small_export.models}
    assert sizes["int8"] < 0.45 * sizes["fp32"]
    assert sizes["fp16"] < 0.65 * sizes["fp32"]


def test_bill_of_materials_has_each_model_with_the_parity_that_it_passed(small_export: ExportResult) -> None:
    document = json.loads((small_export.folder / BOM_FILE).read_text(encoding="utf-8"))
    assert_valid(document)
    found = {item["name"]: metrics(item) for item in document["metadata"]["component"]["components"]}
    for made in small_export.models:
        parity = made.spec.parity
        reference = "the PyTorch original" if made.precision == "fp32" else "the FP32 model"
        agreement = found[f"model.{made.precision}.onnx"][
            "agreement", f"parity with {reference} on {parity['images']} images"
        ]
        assert agreement["value"] == f"{parity['agreement']:.6g}"
        assert ("confidenceInterval" in agreement) == ("agreement_interval" in parity)
    assert "agreement_interval" in small_export.models[-1].spec.parity


def test_each_model_contains_its_spec(small_export: ExportResult) -> None:
    for made in small_export.models:
        with Predictor(small_export.file(made)) as predictor:
            assert predictor.spec == made.spec
            assert predictor.spec.precision == made.precision
    quantization = small_export.models[2].spec.quantization
    assert quantization is not None
    assert quantization["calibration"] == {
        "images": 8,
        "asked_for": 8,
        "blank": 0,
        "foreign": False,
        "of": "the run's training images",
    }
    assert [made.spec.gate and made.spec.gate["max_dp"] for made in small_export.models] == [1e-4, 1.0, 1.0]
    assert (quantization["target"], quantization["activations"], quantization["residual_adds"]) == (
        "x86",
        "uint8",
        "integer",
    )


def test_models_are_compared_on_validation_images_and_on_unused_training_images(
    small_export: ExportResult,
) -> None:
    for made in small_export.models[1:]:
        assert made.trial is not None
        assert made.trial.parity.images == 8 + (16 - 8)
        assert made.trial.validation is not None
        assert made.trial.validation.images == 8


def test_report_lists_the_candidates(small_export: ExportResult) -> None:
    facts = json.loads((small_export.folder / "report.json").read_text())["precisions"]["int8"]
    assert len(facts["attempts"]) == 6
    assert {"calibrator", "residual_adds", "parity", "accuracy", "milliseconds", "bytes"} <= set(facts["attempts"][0])
    text = (small_export.folder / "report.md").read_text()
    assert "| | FP32 | FP16 | INT8 |" in text.replace("|  |", "| |")
    assert "| calibrator | adds | float layers | agreement, choosing images | mean \\|dp\\| |" in text
    tried = ("| minmax", "| moving", "| percentile", "| entropy")
    assert sum(line.startswith(tried) for line in text.splitlines()) == 6
    assert f"bias corrected on {facts['calibration']['images']} of them" in text
    decided = facts["decisions_on_test"]
    assert decided["images"] == 8
    assert list(decided["coverage"]) == list(decided["reference_coverage"])
    assert "| decided otherwise, test images | - | " in text
    assert "- INT8 decides otherwise than FP32: " in text
    changed = facts["changed_suspicion"]
    assert f"| no longer suspicious, newly suspicious | - | 0, 0 | {changed['lost']}, {changed['gained']} |" in text


def test_all_models_verify_and_the_cpu_takes_int8(small_export: ExportResult) -> None:
    assert find_model(small_export.folder).name == "model.int8.onnx"
    assert find_model(small_export.folder, provider="cuda").name == "model.fp16.onnx"
    for made in small_export.models:
        result = verify(small_export.file(made))
        assert result.failures == ()
        assert result.with_export.max_dp < 1e-3
    golden = load_golden(small_export.folder / "golden.npz")
    assert list(golden.model_outputs) == list(ALL)


def test_second_export_gives_the_same_models_byte_for_byte(
    small_run: Run, small_export: ExportResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "convert", convert)
    for precision in ("fp16", "int8"):
        monkeypatch.setitem(GATES, precision, LOOSE)
    with two_threads():
        again = export_run(small_run, precisions=ALL, quantization=Quantization(samples=8), output=tmp_path / "again")
    for name in ("model.fp32.onnx", "model.fp16.onnx", "model.int8.onnx", "golden.npz", "README.md"):
        assert (again.folder / name).read_bytes() == (small_export.folder / name).read_bytes(), name


def test_agreement_and_drop_can_be_set(small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GATES, "fp16", LOOSE)
    result = export_run(small_run, precisions=["fp16"], output=tmp_path / "export", min_agreement=0.75, max_drop=0.25)
    gate = result.models[1].gate
    assert (gate.min_agreement, gate.max_drop) == (0.75, 0.25)
    assert GATES["fp16"].min_agreement == 0.0


def with_nan(half: onnx.ModelProto) -> onnx.ModelProto:
    """Plants a NaN in one of the weights in half precision."""
    weight = next(weight for weight in half.graph.initializer if weight.data_type == onnx.TensorProto.FLOAT16)
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] = np.nan
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    return half


def test_nan_in_fp16_fails_the_gate(small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "to_half", lambda model, overflowing: with_nan(to_half(model)))
    result = export_run(small_run, precisions=["fp16"], output=tmp_path / "export")
    (rejected,) = result.rejected
    assert rejected.precision == "fp16"
    assert rejected.failures[0] == "max |dp| is nan, at most 0.005 is allowed"
    assert "model.fp16.onnx" not in names(result.folder)


def test_temperature_of_the_run_is_in_the_graph(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "convert", convert)  # another graph than that of the other tests
    shutil.copytree(small_run.folder, tmp_path / "warm")
    warm = Run(tmp_path / "warm")
    record = json.loads(warm.record_file.read_text(encoding="utf-8")) | {"temperature": 1.5}
    warm.record_file.write_text(json.dumps(record), encoding="utf-8")
    export_run(warm)
    pixels = load_golden(warm.export_folder / "golden.npz").pixels
    with Predictor(warm.model_file("fp32")) as predictor:
        outputs = predictor.predict_pixels(pixels)
    logits = torch.from_numpy(outputs.logits)
    np.testing.assert_allclose(outputs.probabilities, (logits / 1.5).softmax(1).numpy(), rtol=0, atol=1e-6)
    assert np.abs(outputs.probabilities - logits.softmax(1).numpy()).max() > 1e-4


def test_run_without_its_training_folder_is_reported_with_the_option_to_name_it(
    small_run: Run, phantoms: Path, tmp_path: Path
) -> None:
    shutil.copytree(phantoms / "valid", tmp_path / "data/valid")
    with pytest.raises(
        DataError, match=r"^expected the run's 16 training images in '.*' for the calibration, found none"
    ):
        export_run(small_run, precisions=["int8"], data=tmp_path / "data", output=tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_other_images_calibrate_and_fewer_than_requested_are_reported(
    small_run: Run, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GATES, "int8", LOOSE)
    shutil.copytree(phantoms / "valid", tmp_path / "data/valid")
    messages: list[str] = []
    result = export_run(
        small_run,
        precisions=["int8"],
        data=tmp_path / "data",
        output=tmp_path / "export",
        quantization=Quantization(calibrate=phantoms / "test", samples=20),
        log=messages.append,
    )
    assert "calibrating on 8 images, 12 fewer than requested: all there are" in messages
    assert "comparing on 8 images: 8 validation, 0 training (not used for calibration)" in messages
    quantization = result.models[1].spec.quantization
    assert quantization is not None
    assert quantization["calibration"] == {"images": 8, "asked_for": 20, "blank": 0, "foreign": True, "of": "test"}


def stem_of(model: onnx.ModelProto) -> list[str]:
    """Returns the kinds of the nodes from the pixels to the first convolution, without those that quantize."""
    made_by = {node.output[0]: node for node in model.graph.node}
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    kinds = [node.op_type]
    while before := made_by.get(node.input[0]):
        kinds.insert(0, before.op_type)
        node = before
    return [kind for kind in kinds if kind not in ("QuantizeLinear", "DequantizeLinear")]


def test_int8_has_the_shorter_input_stem(small_export: ExportResult) -> None:
    stems = [stem_of(onnx.load(small_export.file(made))) for made in small_export.models]
    fp32, _, int8 = stems
    assert fp32 == ["Transpose", "Cast", "Sub", "Div", "Conv"]
    assert int8 == ["Reshape", "Transpose", "Reshape", "Cast", "Sub", "Transpose", "Conv"]


@pytest.mark.parametrize("precisions", ["int8", ["int4"]])
def test_unknown_precision_is_rejected_by_the_library_too(
    precisions: list[Any], small_run: Run, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="expected precisions to be of"):
        export_run(small_run, precisions=precisions, output=tmp_path / "export")


def test_earlier_int8_that_an_export_would_remove_is_reported(
    small_run: Run, small_export: ExportResult, tmp_path: Path
) -> None:
    shutil.copytree(small_export.folder, tmp_path / "export")
    messages: list[str] = []
    export_run(small_run, output=tmp_path / "export", log=messages.append)
    assert messages[0] == (
        f"note: this export replaces the earlier one in '{tmp_path / 'export'}' and removes its model.fp16.onnx; keep "
        "that precision with --precision fp16, or choose another --output"
    )
    assert messages[1] == messages[0].replace("fp16", "int8")
    assert names(tmp_path / "export") == [
        "README.md",
        "bom.cdx.json",
        "golden.npz",
        "model.fp32.onnx",
        "report.json",
        "report.md",
    ]


def test_tuning_and_signature_of_an_earlier_model_are_removed_with_it(
    small_run: Run, small_export: ExportResult, tmp_path: Path
) -> None:
    shutil.copytree(small_export.folder, tmp_path / "export")
    for name in ("model.fp32.tuned.json", "fastest.0123456789ab.json", "model.sig"):
        (tmp_path / "export" / name).write_text("{}")
    messages: list[str] = []
    export_run(small_run, output=tmp_path / "export", log=messages.append)
    assert (
        f"note: the signature of '{tmp_path / 'export'}' does not cover a new export; sign it again with: ctonnx sign "
        f"{tmp_path / 'export'}"
    ) in messages
    assert names(tmp_path / "export") == [
        "README.md",
        "bom.cdx.json",
        "golden.npz",
        "model.fp32.onnx",
        "report.json",
        "report.md",
    ]


def test_report_of_a_nan_is_json(small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "to_half", lambda model, overflowing: with_nan(to_half(model)))
    result = export_run(small_run, precisions=["fp16"], output=tmp_path / "export")

    def fail(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    facts = json.loads((result.folder / "report.json").read_text(), parse_constant=fail)
    assert facts["precisions"]["fp16"]["parity"]["max_dp"] is None
    assert "| max \\|dp\\| | " in (result.folder / "report.md").read_text()
