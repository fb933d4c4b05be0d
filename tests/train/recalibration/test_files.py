"""The recalibrated file: the same network, a checksum of its own, golden inputs that verify it anywhere."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.train.grey_models import SPEC, outputs_of, write_model

from ctonnx.artifacts.golden import load_golden
from ctonnx.artifacts.onnx_file.integrity import check_content
from ctonnx.errors import CheckFailed, CtonnxError
from ctonnx.prediction.device.verification import verify
from ctonnx.prediction.predictor import Predictor
from ctonnx_train.recalibration.files import check_output
from ctonnx_train.recalibration.files import write_model as write_recalibrated
from ctonnx_train.recalibration.temperature import network_sha256

PIXELS = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("temperature", [1.0, 1.37])
def test_new_file_predicts_by_its_temperature_and_verifies_in_its_own_folder(
    temperature: float, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "model.fp32.onnx", temperature=temperature)
    content = model.read_bytes()
    output = tmp_path / "new/site.onnx"
    network, golden = write_recalibrated(model, output, replace(SPEC, temperature=2.5), PIXELS)
    assert model.read_bytes() == content
    assert network == network_sha256(onnx.load(model)) == network_sha256(onnx.load(output))
    with Predictor(output) as predictor:
        assert predictor.spec.temperature == 2.5
        found = predictor.predict_pixels(PIXELS)
    np.testing.assert_allclose(found.probabilities, outputs_of(PIXELS, 2.5).probabilities, atol=1e-5)
    check_content(output)
    assert golden == tmp_path / "new/golden.npz"
    assert verify(output).failures == ()
    assert verify(model).failures == ()
    assert sorted(path.name for path in output.parent.iterdir()) == ["golden.npz", "site.onnx"]
    assert load_golden(golden).model_outputs.keys() == {"fp32"}


def test_model_without_golden_inputs_gets_none(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.fp32.onnx", golden=False)
    assert write_recalibrated(model, tmp_path / "site.onnx", replace(SPEC, temperature=2), PIXELS)[1] is None
    assert not (tmp_path / "golden.npz").exists()


def test_golden_inputs_of_another_export_are_not_taken(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.fp32.onnx")
    write_model(model, temperature=1.5, golden=False)
    assert write_recalibrated(model, tmp_path / "new/site.onnx", replace(SPEC, temperature=2), PIXELS)[1] is None


def test_file_whose_outputs_are_others_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(tmp_path / "model.fp32.onnx")
    replaced = "ctonnx_train.recalibration.files.replace_temperature"
    from ctonnx_train.recalibration.temperature import replace_temperature

    monkeypatch.setattr(replaced, lambda model, temperature: replace_temperature(model, temperature + 0.1))
    with pytest.raises(CheckFailed, match=r"found the same logits or heatmaps and probabilities that differ by 0\.0"):
        write_recalibrated(model, tmp_path / "new/site.onnx", replace(SPEC, temperature=2), PIXELS)
    assert not (tmp_path / "new").exists()


def test_error_in_the_golden_inputs_leaves_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(tmp_path / "model.fp32.onnx")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ctonnx_train.recalibration.files.save_golden", full)
    with pytest.raises(OSError, match=r"No space left"):
        write_recalibrated(model, tmp_path / "new/site.onnx", replace(SPEC, temperature=2), PIXELS)
    assert not (tmp_path / "new").exists()


def test_output_must_be_a_new_file_in_a_folder_without_golden_inputs(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.fp32.onnx")
    (tmp_path / "there").mkdir()
    there = tmp_path / "there/site.onnx"
    there.touch()
    messages = {
        model: f"expected a new file for --output, found the model itself at '{model}'; choose another name: the "
        "earlier model stays as it is",
        there: f"expected a new file for --output, found a file at '{there}'; choose another name: the earlier model "
        "stays as it is",
        tmp_path / "new.bin": f"expected a file name that ends in .onnx for --output, found '{tmp_path / 'new.bin'}'",
        tmp_path / "site.onnx": f"expected a folder without golden.npz for --output, found '{tmp_path / 'golden.npz'}'"
        ", which belongs to other models; choose a folder of its own, such as "
        f"{tmp_path / 'recalibrated/site.onnx'}",
    }
    for output, message in messages.items():
        with pytest.raises(CtonnxError) as caught:
            check_output(model, output)
        assert str(caught.value) == message
    check_output(model, tmp_path / "new/site.onnx")
