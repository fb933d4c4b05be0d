"""FP16 models: what is in half precision, what is not, and an overflow that a CPU would hide."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto
from tests.export.conftest import make_small_model

from ctonnx.parity.comparison import compare
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.graph.fp16 import find_overflowing, to_half


def types(model: onnx.ModelProto) -> dict[str, int]:
    return {weight.name: weight.data_type for weight in model.graph.initializer}


def test_convolutions_are_in_half_precision_and_the_head_is_not(small_model: onnx.ModelProto) -> None:
    found = types(to_half(small_model))
    assert found["b2.weight"] == TensorProto.FLOAT16
    assert found["head.weight"] == TensorProto.FLOAT
    assert found["mean"] == TensorProto.FLOAT


def test_inputs_and_outputs_keep_their_names_types_and_shapes(small_model: onnx.ModelProto) -> None:
    half = to_half(small_model)
    onnx.checker.check_model(half, full_check=True)
    assert list(half.graph.input) == list(small_model.graph.input)
    assert list(half.graph.output) == list(small_model.graph.output)


def test_float_nodes_are_not_rounded_to_half_precision_between_each_other(small_model: onnx.ModelProto) -> None:
    casts = [node for node in to_half(small_model).graph.node if node.op_type == "Cast"]
    to_half_precision = [node for node in casts if node.attribute[0].i == TensorProto.FLOAT16]
    assert len(to_half_precision) == 1  # behind the normalization
    assert len(casts) == 4  # bytes to numbers, and the last add's two inputs


def test_weights_that_the_graph_describes_keep_their_type_in_the_head(small_model: onnx.ModelProto) -> None:
    """torch's exporter describes weights as it does activations."""
    model = onnx.ModelProto()
    model.CopyFrom(small_model)
    for weight in model.graph.initializer:
        model.graph.value_info.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    half = to_half(model)
    onnx.checker.check_model(half, full_check=True)
    assert types(half) == types(to_half(small_model))


def test_outputs_are_those_of_the_float_model(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> None:
    parity = compare(run_onnx(small_model, [scans]), run_onnx(to_half(small_model), [scans]))
    assert 0 < parity.max_dp < 1e-3
    assert parity.heatmap_correlation > 0.999


def test_nothing_overflows_in_an_ordinary_model(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> None:
    assert find_overflowing(small_model, np.split(scans, 3)) == ()


def test_maps_beyond_the_range_of_half_precision_are_found_on_real_images_and_stay_in_float(
    scans: NDArray[np.uint8],
) -> None:
    """The CPU computes FP16 models in FP32 and would never show it."""
    model = make_small_model(scale=1e5)
    found = find_overflowing(model, np.split(scans, 3))
    assert found == ("node_a1", "node_a1.relu")
    half = to_half(model, found)
    onnx.checker.check_model(half, full_check=True)
    weights = types(half)
    assert {name for name in weights if name.endswith("weight") and weights[name] == TensorProto.FLOAT} == {
        "a1.weight",
        "a2.weight",
        "head.weight",
    }
    made_by = {name: node.op_type for node in half.graph.node for name in node.output}
    (second,) = [node for node in half.graph.node if node.name == "node_a2"]
    assert made_by[second.input[0]] == "Relu"  # with no way through half precision
    assert compare(run_onnx(model, [scans]), run_onnx(half, [scans])).max_dp < 1e-3


def test_too_large_weights_are_found_too(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(small_model)
    bias = next(weight for weight in model.graph.initializer if weight.name == "b2.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(16, -7e4, np.float32), bias.name))
    assert "node_b2" in find_overflowing(model, [scans])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_counts_as_an_overflow(small_model: onnx.ModelProto, scans: NDArray[np.uint8], value: float) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(small_model)
    bias = next(weight for weight in model.graph.initializer if weight.name == "a1.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(16, value, np.float32), bias.name))
    assert "node_a1" in find_overflowing(model, [scans])
