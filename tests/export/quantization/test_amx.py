"""INT8 for AMX: weights of wide convolutions are lowered, and outputs do not change."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tests.export.conftest import optimized

from ctonnx.system.cpu import has_vnni
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.quantization import amx
from ctonnx_export.quantization.amx import shift_weights_for_amx
from ctonnx_export.quantization.calibration import Ranges, collect_ranges
from ctonnx_export.quantization.qdq import Scheme, quantize, quantized_tensors

WIDE = {"node_a1", "node_a2", "node_b1", "node_b2"}  # of the small model: 16 outputs of 144 products


@pytest.fixture(scope="module")
def ranges(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> Ranges:
    return collect_ranges(small_model, quantized_tensors(small_model), np.split(scans, 6))


@pytest.fixture
def small_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amx, "_OUTPUTS", 16)
    monkeypatch.setattr(amx, "_PRODUCTS", 144)


def zero_points(model: onnx.ModelProto) -> dict[str, set[int]]:
    """Returns for each convolution in integers the zero points of its weights."""
    constants = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    made_by = {node.output[0]: node for node in model.graph.node}
    return {
        node.name: set(constants[made_by[node.input[1]].input[2]].tolist())
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1] in made_by
    }


@pytest.mark.usefixtures("small_is_wide")
@pytest.mark.parametrize("integer_adds", [True, False])
def test_outputs_for_amx_and_x86_are_bit_identical(
    small_model: onnx.ModelProto, ranges: Ranges, scans: NDArray[np.uint8], integer_adds: bool
) -> None:
    ours, theirs = (
        quantize(small_model, ranges, Scheme(target=target, integer_adds=integer_adds)) for target in ("amx", "x86")
    )
    onnx.checker.check_model(ours, full_check=True)
    assert {name for name, found in zero_points(ours).items() if found == {-1}} == WIDE
    assert {name for name, found in zero_points(ours).items() if found == {0}} == {"node_stem", "node_a.shortcut"}
    assert all(found == {0} for found in zero_points(theirs).values())
    assert Scheme(target="amx").as_dict()["weights"].endswith(", lowered by one where AMX multiplies them")
    answers, expected = (run_onnx(model, [scans]) for model in (ours, theirs))
    np.testing.assert_array_equal(answers.logits, expected.logits)
    np.testing.assert_array_equal(answers.heatmap, expected.heatmap)


@pytest.mark.usefixtures("small_is_wide")
@pytest.mark.skipif(not has_vnni(), reason="without VNNI the kernels for signed weights saturate")
def test_outputs_stay_the_same_if_onnxruntime_makes_the_weights_unsigned(
    small_model: onnx.ModelProto, ranges: Ranges, scans: NDArray[np.uint8]
) -> None:
    """As it does for processors that are not known to have VNNI."""
    data = quantize(small_model, ranges, Scheme(target="amx")).SerializeToString()
    logits = []
    for value in ("0", "1"):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry("session.x64quantprecision", value)
        session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
        logits.append(session.run(["logits"], {"pixels": scans})[0])
    np.testing.assert_array_equal(*logits)


@pytest.mark.usefixtures("small_is_wide")
def test_graph_for_amx_is_integer_from_the_first_convolution_to_the_last(
    small_model: onnx.ModelProto, ranges: Ranges, tmp_path: Path
) -> None:
    run = optimized(quantize(small_model, ranges, Scheme(target="amx")), tmp_path)
    kinds = [node.op_type for node in run.graph.node]
    assert (kinds.count("QLinearConv"), kinds.count("Conv"), kinds.count("FusedConv")) == (6, 0, 0)


@pytest.mark.usefixtures("small_is_wide")
def test_layer_that_stays_in_float_keeps_its_weights(small_model: onnx.ModelProto, ranges: Ranges) -> None:
    model = quantize(small_model, ranges, Scheme(target="amx", excluded=("node_a1",)))
    found = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    before = {weight.name: numpy_helper.to_array(weight) for weight in small_model.graph.initializer}
    np.testing.assert_array_equal(found["a1.weight"], before["a1.weight"])
    assert {name for name, points in zero_points(model).items() if points == {-1}} == WIDE - {"node_a1"}


def make_convolution(outputs: int, channels: int, kernel: int, *, lowest: int = -127) -> onnx.ModelProto:
    """Returns a model of one convolution, with random weights of which one is `lowest`."""
    weights = np.random.default_rng(0).integers(-127, 128, (outputs, channels, kernel, kernel), np.int8)
    weights.flat[0] = lowest
    constants = {
        "weight": weights,
        "scale": np.full(outputs, 0.01, np.float32),
        "zero": np.zeros(outputs, np.int8),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["weight", "scale", "zero"], ["float"], axis=0),
        helper.make_node("Conv", ["x", "float"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, kernel, kernel])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs, 1, 1])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(
    ("outputs", "channels", "kernel", "lowest", "lowered"),
    [
        (128, 512, 1, -127, True),
        (128, 57, 3, -127, True),
        (127, 512, 1, -127, False),
        (128, 511, 1, -127, False),
        (128, 56, 3, -127, False),
        (128, 512, 1, -128, False),  # which nothing is below
    ],
)
def test_many_outputs_of_long_sums_are_multiplied_with_amx(
    outputs: int, channels: int, kernel: int, lowest: int, lowered: bool
) -> None:
    model = make_convolution(outputs, channels, kernel, lowest=lowest)
    before = numpy_helper.to_array(model.graph.initializer[0])
    shift_weights_for_amx(model)
    after, _, zero = (numpy_helper.to_array(weight) for weight in model.graph.initializer)
    np.testing.assert_array_equal(zero, -int(lowered))
    np.testing.assert_array_equal(after.astype(int) - zero[0], before)
    assert after.dtype == zero.dtype == np.int8
