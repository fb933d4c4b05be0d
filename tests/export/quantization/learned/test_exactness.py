"""Exactness: PyTorch and onnxruntime compute the same model, or the export is rejected."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from tests.export.builders import image_set

from ctonnx.errors import CheckFailed
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.quantization.calibration import collect_ranges
from ctonnx_export.quantization.learned import exactness as module
from ctonnx_export.quantization.learned.exactness import bound_of, check_exactness
from ctonnx_export.quantization.learned.fake_quantization import FakeQuantized
from ctonnx_export.quantization.qdq import Scheme, quantize, quantized_tensors
from ctonnx_export.trial import ComparisonSet


@pytest.fixture(scope="module")
def network(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> FakeQuantized:
    ranges = collect_ranges(small_model, quantized_tensors(small_model), [scans])
    return FakeQuantized(quantize(small_model, ranges, Scheme()), small_model, ["probabilities"])


def test_difference_of_the_written_graph_is_measured(
    network: FakeQuantized, compared: ComparisonSet, scans: NDArray[np.uint8]
) -> None:
    probabilities = run_onnx(network.as_onnx(), [scans]).probabilities
    found = check_exactness(network, probabilities, compared, "x86")
    assert (found.images, found.bound) == (24, 1e-4)
    assert found.max_dp < 1e-6
    probabilities[20, 0] += 5e-5
    differing = check_exactness(network, probabilities, compared, "x86")
    assert differing.max_dp == pytest.approx(5e-5, rel=0.02)
    assert 5e-5 <= differing.as_dict()["max_dp"] < 5.1e-5


def test_an_altered_graph_is_rejected(
    network: FakeQuantized, compared: ComparisonSet, scans: NDArray[np.uint8]
) -> None:
    model = network.as_onnx()
    weight = next(weight for weight in model.graph.initializer if weight.name == "a2.weight_quantized")
    values = numpy_helper.to_array(weight)
    values = values + np.where(values < 100, 1, -1).astype(np.int8)  # by one step each
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises(CheckFailed, match=r"differ by at most 0.0001, found 0\.0\d+ on 24 images; export without"):
        check_exactness(network, run_onnx(model, [scans]).probabilities, compared, "x86")


def test_nan_is_rejected(network: FakeQuantized, compared: ComparisonSet, scans: NDArray[np.uint8]) -> None:
    probabilities = run_onnx(network.as_onnx(), [scans]).probabilities
    probabilities[3] = np.nan
    with pytest.raises(CheckFailed, match="found nan on 24 images"):
        check_exactness(network, probabilities, compared, "x86")


def test_images_are_spread_over_all_compared_ones(
    network: FakeQuantized, compared: ComparisonSet, scans: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 4)
    probabilities = run_onnx(network.as_onnx(), [scans]).probabilities
    probabilities[[1, 23]] = 0.5  # not looked at
    assert check_exactness(network, probabilities, compared, "x86").images == 4
    probabilities[18] = 0.5
    with pytest.raises(CheckFailed):
        check_exactness(network, probabilities, compared, "x86")


def test_one_image_is_enough(network: FakeQuantized, compared: ComparisonSet, scans: NDArray[np.uint8]) -> None:
    one = replace(compared, parts=(image_set(scans[:1], np.zeros(1, np.int64)),), reference=compared.reference[:1])
    probabilities = run_onnx(network.as_onnx(), [scans[:1]]).probabilities
    assert check_exactness(network, probabilities, one, "x86").images == 1


def test_bound_is_that_of_fp32_where_everything_between_is_integers() -> None:
    assert [bound_of(target, "x86_64") for target in ("x86", "amx", "arm", "tensorrt")] == [1e-4, 1e-4, 1e-4, 0.05]
    assert bound_of("x86", "AMD64") == 1e-4
    assert bound_of("arm", "arm64") == 0.05


def test_gradients_are_not_kept(network: FakeQuantized, compared: ComparisonSet, scans: NDArray[np.uint8]) -> None:
    check_exactness(network, run_onnx(network.as_onnx(), [scans]).probabilities, compared, "x86")
    assert torch.is_grad_enabled()
