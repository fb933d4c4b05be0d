"""INT8 models: quantized nodes, their types, and the graph that onnxruntime runs."""

from collections import Counter
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from tests.export.conftest import make_small_model, optimized

from ctonnx.artifacts.report_schema import TARGETS, Target
from ctonnx.parity.comparison import compare
from ctonnx_export import triton
from ctonnx_export.cli import export
from ctonnx_export.graph.backbone import backbone
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.quantization import qdq
from ctonnx_export.quantization.calibration import CALIBRATORS, Calibrator, Ranges, collect_ranges
from ctonnx_export.quantization.input_stem import fold_division
from ctonnx_export.quantization.qdq import Scheme, quantize, quantized_tensors
from ctonnx_export.report import model_card


@pytest.fixture(scope="module")
def small_model() -> onnx.ModelProto:
    """The model as INT8 is made from it."""
    model = make_small_model()
    fold_division(model)
    return model


@pytest.fixture(scope="module")
def ranges(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> Ranges:
    return collect_ranges(small_model, quantized_tensors(small_model), np.split(scans, 6))


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def activation_types(model: onnx.ModelProto) -> set[int]:
    """Returns the types that activations are quantized to."""
    constants = {weight.name: weight for weight in model.graph.initializer}
    return {constants[node.input[2]].data_type for node in model.graph.node if node.op_type == "QuantizeLinear"}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("calibrator", CALIBRATORS)
@pytest.mark.parametrize("integer_adds", [True, False])
def test_every_scheme_agrees_with_the_float_model(
    small_model: onnx.ModelProto,
    scans: NDArray[np.uint8],
    ranges: Ranges,
    target: Target,
    calibrator: Calibrator,
    integer_adds: bool,
) -> None:
    scheme = Scheme(target=target, calibrator=calibrator, integer_adds=integer_adds)
    quantized = quantize(small_model, ranges, scheme)
    onnx.checker.check_model(quantized, full_check=True)
    parity = compare(run_onnx(small_model, [scans]), run_onnx(quantized, [scans]))
    assert parity.agreement == 1
    cut_off = calibrator == "entropy"  # which gives up the ends of these evenly spread activations
    assert 0 < parity.max_dp < (0.05 if cut_off else 0.03)
    assert parity.heatmap_correlation > (0.97 if cut_off else 0.98)


def test_types_of_activations_are_the_targets(small_model: onnx.ModelProto, ranges: Ranges) -> None:
    found = {target: activation_types(quantize(small_model, ranges, Scheme(target=target))) for target in TARGETS}
    unsigned, signed = {TensorProto.UINT8}, {TensorProto.INT8}
    assert found == {"x86": unsigned, "amx": unsigned, "arm": signed, "tensorrt": signed}


def test_every_target_is_known_in_every_table_of_targets() -> None:
    (option,) = (parameter for parameter in export.params if parameter.name == "target")
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == TARGETS
    for known in (qdq._ACTIVATIONS, model_card._PLACES, triton._INSTANCES):
        assert tuple(known) == TARGETS


def test_tensorrts_zero_points_are_all_zero_and_arms_are_not(small_model: onnx.ModelProto, ranges: Ranges) -> None:
    def zero_points(target: Target) -> set[int]:
        model = quantize(small_model, ranges, Scheme(target=target))
        constants = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
        quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
        return {int(constants[node.input[2]]) for node in quantizers}

    assert zero_points("tensorrt") == {0}
    assert -128 in zero_points("arm")


def test_both_branches_of_an_add_are_quantized_for_tensorrt_and_convolutions_outputs_are_not(
    small_model: onnx.ModelProto, ranges: Ranges
) -> None:
    model = quantize(small_model, ranges, Scheme(target="tensorrt"))
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    read_by = Counter((name, node.op_type) for node in model.graph.node for name in node.input)
    (add,) = [node for node in model.graph.node if node.output[0] == "a.sum"]
    assert [made_by[name] for name in add.input] == ["DequantizeLinear", "DequantizeLinear"]
    assert read_by[("a1", "QuantizeLinear")] == 0
    assert read_by[("a1", "Relu")] == 1


def test_weights_are_int8_with_a_scale_for_each_output_channel(small_model: onnx.ModelProto, ranges: Ranges) -> None:
    model = quantize(small_model, ranges, Scheme())
    constants = {weight.name: weight for weight in model.graph.initializer}
    weights = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and "weight" in node.input[0]]
    assert len(weights) == 6
    for node in weights:
        values, scale, zero = (constants[name] for name in node.input)
        assert values.data_type == TensorProto.INT8
        assert list(scale.dims) == [values.dims[0]]
        assert not numpy_helper.to_array(zero).any()


def test_head_stays_in_float(small_model: onnx.ModelProto, ranges: Ranges) -> None:
    model = quantize(small_model, ranges, Scheme())
    constants = {weight.name: weight.data_type for weight in model.graph.initializer}
    assert constants["head.weight"] == TensorProto.FLOAT


def test_x86_graph_is_integer_from_the_first_convolution_to_the_last(
    small_model: onnx.ModelProto, ranges: Ranges, tmp_path: Path
) -> None:
    found = kinds(optimized(quantize(small_model, ranges, Scheme()), tmp_path))
    assert (found["QLinearConv"], found["QLinearAdd"], found["NhwcMaxPool"]) == (6, 1, 1)
    assert (found["Conv"], found["FusedConv"], found["MaxPool"]) == (0, 0, 0)
    assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (1, 2)  # the input; the last add's two branches


def test_arm_graph_is_integer_if_onnxruntime_accepts_signed_bytes(
    small_model: onnx.ModelProto, ranges: Ranges, tmp_path: Path
) -> None:
    """On ARM this is onnxruntime's default; elsewhere an option makes it."""
    found = kinds(optimized(quantize(small_model, ranges, Scheme(target="arm")), tmp_path, qdqisint8allowed="1"))
    assert (found["QLinearConv"], found["QLinearAdd"]) == (6, 1)


def test_float_adds_stay_in_float_and_read_a_shortcut_that_was_never_quantized(
    small_model: onnx.ModelProto, ranges: Ranges, tmp_path: Path
) -> None:
    model = quantize(small_model, ranges, Scheme(integer_adds=False))
    adds = {node.output[0]: list(node.input) for node in model.graph.node if node.op_type == "Add"}
    assert "a.out" in adds["b.sum"]
    found = kinds(optimized(model, tmp_path))
    assert (found["QLinearConv"], found["QLinearAdd"], found["Add"]) == (6, 0, 2)


@pytest.mark.parametrize("name", ["stem", "a1", "a2", "a.shortcut", "b1", "b2"])
@pytest.mark.parametrize("integer_adds", [True, False])
def test_excluded_layer_is_computed_in_float(
    small_model: onnx.ModelProto,
    scans: NDArray[np.uint8],
    ranges: Ranges,
    tmp_path: Path,
    name: str,
    integer_adds: bool,
) -> None:
    """Left to itself, onnxruntime quantizes a float convolution between quantized tensors after all."""
    model = quantize(small_model, ranges, Scheme(excluded=(f"node_{name}",), integer_adds=integer_adds))
    onnx.checker.check_model(model, full_check=True)
    run = {node.output[0]: node for node in optimized(model, tmp_path).graph.node}
    floats = [node for node in run.values() if node.op_type in {"Conv", "FusedConv", "NhwcFusedConv"}]
    assert name in {node.name.removeprefix("node_").split("/")[0].removesuffix("_nchwc") for node in floats}
    assert compare(run_onnx(small_model, [scans]), run_onnx(model, [scans])).max_dp < 0.03


def test_model_with_all_layers_excluded_is_nearest_to_the_float_model(
    small_model: onnx.ModelProto, scans: NDArray[np.uint8], ranges: Ranges
) -> None:
    every = tuple(node.name for node in backbone(small_model) if node.op_type == "Conv")
    model = quantize(small_model, ranges, Scheme(excluded=every, integer_adds=False))
    reference = run_onnx(small_model, [scans])
    half = quantize(small_model, ranges, Scheme(excluded=every[:3], integer_adds=False))
    none = quantize(small_model, ranges, Scheme(integer_adds=False))
    errors = [compare(reference, run_onnx(candidate, [scans])).mean_dp for candidate in (model, half, none)]
    assert errors[0] < errors[1] < errors[2]


def test_same_scheme_gives_the_same_bytes(small_model: onnx.ModelProto, ranges: Ranges) -> None:
    first, second = (quantize(small_model, ranges, Scheme()).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_model_that_is_quantized_is_not_changed(small_model: onnx.ModelProto, ranges: Ranges) -> None:
    before = small_model.SerializeToString()
    quantize(small_model, ranges, Scheme())
    assert small_model.SerializeToString() == before
