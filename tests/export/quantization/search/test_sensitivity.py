"""Ranking of the layers by sensitivity."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from ctonnx.artifacts.report_schema import TARGETS, Target
from ctonnx_export.quantization.calibration import Ranges, collect_ranges
from ctonnx_export.quantization.qdq import Scheme, quantized_tensors
from ctonnx_export.quantization.search.sensitivity import rank_by_sensitivity

CONVOLUTIONS = ["node_a.shortcut", "node_a1", "node_a2", "node_b1", "node_b2", "node_stem"]


@pytest.fixture
def ranges(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> Ranges:
    """With one that is wide and mostly empty: of what the convolution b2 reads."""
    found = collect_ranges(small_model, quantized_tensors(small_model), [scans])
    found._highest["b1.relu"].append(1000.0)
    return found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("integer_adds", [True, False])
def test_layer_whose_input_has_a_wide_and_mostly_empty_range_comes_first(
    target: Target, integer_adds: bool, small_model: onnx.ModelProto, ranges: Ranges, scans: NDArray[np.uint8]
) -> None:
    done: list[int] = []
    scheme = Scheme(target=target, calibrator="minmax", integer_adds=integer_adds)
    order = rank_by_sensitivity(small_model, ranges, scheme, scans[:2], progress=done.append)
    assert (sorted(order), order[0]) == (CONVOLUTIONS, "node_b2")
    assert done == [1] * 6


def test_noise_that_does_not_change_outputs_does_not_count(
    small_model: onnx.ModelProto, ranges: Ranges, scans: NDArray[np.uint8]
) -> None:
    deaf = onnx.ModelProto()
    deaf.CopyFrom(small_model)
    convolution = next(node for node in deaf.graph.node if node.name == "node_b2")
    weight = next(weight for weight in deaf.graph.initializer if weight.name == convolution.input[1])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1e-6), weight.name))
    order = rank_by_sensitivity(deaf, ranges, Scheme(target="tensorrt", calibrator="minmax"), scans[:2])
    assert set(order[-2:]) == {"node_b1", "node_b2"}  # what b1 computes goes through b2
