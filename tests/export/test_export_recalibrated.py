"""An exported model of each precision gets another temperature, and verifies against its PyTorch original."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.export.conftest import ALL

from ctonnx.artifacts.golden import FILE_NAME, load_golden
from ctonnx.artifacts.onnx_file.metadata import METADATA_KEY, read_metadata
from ctonnx.artifacts.report_schema import Precision
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.prediction.device.verification import verify
from ctonnx.prediction.predictor import Predictor
from ctonnx_export.export import ExportResult
from ctonnx_train.recalibration.files import write_model
from ctonnx_train.recalibration.temperature import network_sha256


@pytest.mark.parametrize("precision", ALL)
def test_precision_keeps_its_network_and_verifies(
    precision: Precision, small_export: ExportResult, tmp_path: Path
) -> None:
    model = small_export.folder / f"model.{precision}.onnx"
    golden = load_golden(model.parent / FILE_NAME)
    spec = replace(ModelSpec.from_json(read_metadata(model)[METADATA_KEY]), temperature=1.7)
    output = tmp_path / "site" / model.name
    write_model(model, output, spec, golden.pixels)
    assert network_sha256(onnx.load(model)) == network_sha256(onnx.load(output))
    with Predictor(model) as before, Predictor(output) as after:
        earlier, later = (predictor.predict_pixels(golden.pixels) for predictor in (before, after))
    np.testing.assert_array_equal(earlier.logits, later.logits)
    np.testing.assert_array_equal(earlier.heatmap, later.heatmap)
    assert np.abs(earlier.probabilities - later.probabilities).max() > 1e-3
    found = verify(output)
    assert [failure for failure in found.failures if "export" in failure] == []
    assert found.failures == verify(model).failures  # of loose gates: two epochs
