"""Bias correction: the mean error of the logits goes, and nothing else changes."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from tests.export.builders import image_set
from tests.export.conftest import make_small_ensemble

from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.quantization.bias_correction import BiasCorrection
from ctonnx_export.quantization.calibration import collect_ranges
from ctonnx_export.quantization.qdq import Scheme, quantize, quantized_tensors


def weights(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    return {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}


def test_planted_shift_of_the_logits_is_found_and_taken_away(
    small_model: onnx.ModelProto, scans: NDArray[np.uint8]
) -> None:
    shifted = onnx.ModelProto()
    shifted.CopyFrom(small_model)
    bias = next(weight for weight in shifted.graph.initializer if weight.name == "head.bias")
    bias.CopyFrom(
        numpy_helper.from_array(weights(small_model)["head.bias"] + np.array([0.5, 0, -2], np.float32), bias.name)
    )
    BiasCorrection(small_model, image_set(scans, np.zeros(len(scans), np.int64))).apply(shifted)
    for name, values in weights(small_model).items():
        np.testing.assert_allclose(weights(shifted)[name], values, atol=1e-5)


def test_planted_shift_of_each_network_of_an_ensemble_is_taken_away(scans: NDArray[np.uint8]) -> None:
    ensemble, shifted = make_small_ensemble(), make_small_ensemble()
    shifts = {"head.bias.0": np.array([0.5, 0, -2], np.float32), "head.bias.1": np.array([0, 1, 0], np.float32)}
    for bias in shifted.graph.initializer:
        if bias.name in shifts:
            bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + shifts[bias.name], bias.name))
    BiasCorrection(ensemble, image_set(scans, np.zeros(len(scans), np.int64))).apply(shifted)
    for name, values in weights(ensemble).items():
        np.testing.assert_allclose(weights(shifted)[name], values, atol=1e-5)


def test_quantized_logits_have_no_mean_error_on_its_images_and_heatmaps_stay(
    small_model: onnx.ModelProto, scans: NDArray[np.uint8]
) -> None:
    ranges = collect_ranges(small_model, quantized_tensors(small_model), [scans])
    quantized = quantize(small_model, ranges, Scheme(calibrator="percentile-99.9"))
    before, reference = run_onnx(quantized, [scans]), run_onnx(small_model, [scans])
    BiasCorrection(small_model, image_set(scans, np.zeros(len(scans), np.int64))).apply(quantized)
    after = run_onnx(quantized, [scans])
    assert np.abs((before.logits - reference.logits).mean(axis=0)).max() > 1e-3
    assert np.abs((after.logits - reference.logits).mean(axis=0)).max() < 1e-5
    np.testing.assert_array_equal(after.heatmap, before.heatmap)


def test_fewer_than_eight_images_correct_nothing(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> None:
    ranges = collect_ranges(small_model, quantized_tensors(small_model), [scans])
    quantized = quantize(small_model, ranges, Scheme(calibrator="percentile-99.9"))
    before = quantized.SerializeToString()
    correction = BiasCorrection(small_model, image_set(scans[:7], np.zeros(7, np.int64)))
    correction.apply(quantized)
    assert len(correction.rows) == 0
    assert quantized.SerializeToString() == before


@pytest.mark.parametrize(
    ("count", "rows"), [(8, list(range(8))), (128, list(range(128))), (256, list(range(0, 256, 2)))]
)
def test_evenly_spaced_images_are_taken_up_to_128(
    count: int, rows: list[int], small_model: onnx.ModelProto, scans: NDArray[np.uint8]
) -> None:
    many = np.resize(scans, (count, *scans.shape[1:]))
    assert BiasCorrection(small_model, image_set(many, np.zeros(count, np.int64))).rows.tolist() == rows
