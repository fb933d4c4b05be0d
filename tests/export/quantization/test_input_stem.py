"""The way from the pixels through the first convolution, as INT8 models are made from it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from tests.export.conftest import SIZE, make_small_ensemble, make_small_model, optimized

from ctonnx.artifacts.report_schema import Target
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.quantization.calibration import collect_ranges
from ctonnx_export.quantization.input_stem import fold_division, for_integers, space_to_depth
from ctonnx_export.quantization.qdq import Scheme, quantize, quantized_tensors

COLORED = np.random.default_rng(3).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)


def make_plain(*, kernel: int = 3) -> onnx.ModelProto:
    """Returns the small model with another mean and deviation for each colour, and a first kernel of that size."""
    model = make_small_model()
    constants = {weight.name: weight for weight in model.graph.initializer}
    colors = {"mean": [124, 116, 104], "std": [50, 60, 75]}
    for name, values in colors.items():
        constants[name].CopyFrom(numpy_helper.from_array(np.array(values, np.float32).reshape(1, 3, 1, 1), name))
    weights = np.random.default_rng(4).normal(0, 1 / kernel, (16, 3, kernel, kernel)).astype(np.float32)
    constants["stem.weight"].CopyFrom(numpy_helper.from_array(weights, "stem.weight"))
    set_attributes(model, kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4)
    return model


def make_folded(*, kernel: int = 3) -> onnx.ModelProto:
    model = make_plain(kernel=kernel)
    fold_division(model)
    return model


def set_attributes(model: onnx.ModelProto, **values: list[int]) -> None:
    stem = node_of(model, "node_stem")
    kept = [item for item in stem.attribute if item.name not in values]
    del stem.attribute[:]
    stem.attribute.extend([*kept, *(helper.make_attribute(*item) for item in values.items())])


def node_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    nodes: dict[str, onnx.NodeProto] = {node.name: node for node in model.graph.node}
    return nodes[name]


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def first_kinds(model: onnx.ModelProto, last: str) -> list[str]:
    """Returns the kinds of the nodes up to the first one of the kind `last`."""
    kinds = [node.op_type for node in model.graph.node]
    return kinds[: kinds.index(last) + 1]


def test_division_is_folded_into_the_first_convolution() -> None:
    plain, folded = make_plain(), make_folded()
    onnx.checker.check_model(folded, full_check=True)
    assert first_kinds(folded, "Conv") == ["Transpose", "Cast", "Sub", "Conv"]
    assert "std" not in {weight.name for weight in folded.graph.initializer}
    np.testing.assert_allclose(
        run_onnx(folded, [COLORED]).logits, run_onnx(plain, [COLORED]).logits, rtol=1e-5, atol=1e-5
    )


def test_model_without_a_division_before_its_first_convolution_is_left_as_it_is() -> None:
    folded = make_folded()
    again = copy_of(folded)
    fold_division(again)
    assert again == folded


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_gathered_pixels_give_the_same_outputs(kernel: int) -> None:
    folded = make_folded(kernel=kernel)
    gathered = copy_of(folded)
    space_to_depth(gathered)
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(gathered, strict_mode=True), full_check=True)
    ours, theirs = run_onnx(gathered, [COLORED]), run_onnx(folded, [COLORED])
    np.testing.assert_allclose(ours.logits, theirs.logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours.heatmap, theirs.heatmap, rtol=1e-5, atol=1e-5)


def test_first_convolution_has_stride_1_over_blocks_of_four_pixels() -> None:
    model = make_folded(kernel=7)
    space_to_depth(model)
    (weights,) = (weight for weight in model.graph.initializer if weight.name == "stem.weight")
    attributes = {item.name: helper.get_attribute_value(item) for item in node_of(model, "node_stem").attribute}
    assert list(weights.dims) == [16, 12, 4, 4]
    assert attributes == {"kernel_shape": [4, 4], "strides": [1, 1], "pads": [2, 2, 1, 1]}


@pytest.mark.parametrize("target", ["x86", "arm"])
def test_outputs_of_the_quantized_model_are_bit_identical(target: Target) -> None:
    folded = make_folded(kernel=7)
    gathered = copy_of(folded)
    space_to_depth(gathered)
    ranges = collect_ranges(folded, quantized_tensors(folded), np.split(COLORED, 4))
    scheme = Scheme(target=target)
    ours, theirs = (
        run_onnx(quantize(onnx.shape_inference.infer_shapes(model), ranges, scheme), [COLORED])
        for model in (gathered, folded)
    )
    np.testing.assert_array_equal(ours.logits, theirs.logits)
    np.testing.assert_array_equal(ours.heatmap, theirs.heatmap)


def test_onnxruntime_lays_the_pixels_out_once(scans: NDArray[np.uint8], tmp_path: Path) -> None:
    """The transposes to channels first and back, which the graph has around its first convolution, cancel out."""
    model = make_folded(kernel=7)
    space_to_depth(model)
    model = onnx.shape_inference.infer_shapes(model)
    ranges = collect_ranges(model, quantized_tensors(model), np.split(scans, 6))
    run = optimized(quantize(model, ranges, Scheme()), tmp_path)
    expected = ["Reshape", "Transpose", "Reshape", "Cast", "Sub", "QuantizeLinear", "QLinearConv"]
    assert first_kinds(run, "QLinearConv") == expected


@pytest.mark.parametrize(("target", "channels"), [("x86", 12), ("amx", 12), ("arm", 12), ("tensorrt", 3)])
def test_tensorrt_gets_the_first_convolution_as_it_is(target: Target, channels: int) -> None:
    plain = make_plain(kernel=7)
    before = copy_of(plain)
    model = for_integers(plain, target)
    (weights,) = (weight for weight in model.graph.initializer if weight.name == "stem.weight")
    assert weights.dims[1] == channels
    assert "Div" not in {node.op_type for node in model.graph.node}
    assert plain == before


def with_odd_width(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = SIZE + 1


def with_division(model: onnx.ModelProto) -> None:
    model.CopyFrom(make_plain())


def with_unpadded_kernel(model: onnx.ModelProto) -> None:
    set_attributes(model, pads=[0] * 4)


def with_single_steps(model: onnx.ModelProto) -> None:
    set_attributes(model, strides=[1, 1])


def with_even_kernel(model: onnx.ModelProto) -> None:
    model.CopyFrom(make_folded(kernel=4))


@pytest.mark.parametrize(
    "change", [with_odd_width, with_division, with_unpadded_kernel, with_single_steps, with_even_kernel]
)
def test_model_whose_pixels_cannot_be_gathered_is_left_as_it_is(change: Callable[[onnx.ModelProto], None]) -> None:
    model = make_folded()
    change(model)
    before = copy_of(model)
    space_to_depth(model)
    assert model == before


def test_first_convolutions_of_an_ensemble_are_changed_alike() -> None:
    plain = make_small_ensemble()
    model = onnx.shape_inference.infer_shapes(for_integers(plain, "x86"))
    onnx.checker.check_model(model, full_check=True)
    kernels = {weight.name: list(weight.dims) for weight in model.graph.initializer if "stem.weight" in weight.name}
    assert kernels == {"stem.weight.0": [16, 12, 2, 2], "stem.weight.1": [16, 12, 2, 2]}
    assert "Div" not in {node.op_type for node in model.graph.node}
    assert [node.op_type for node in model.graph.node].count("Sub") == 1
    ours, theirs = run_onnx(model, [COLORED]), run_onnx(plain, [COLORED])
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, rtol=1e-4, atol=1e-6)


def test_pixels_that_others_read_too_are_left_as_they_are() -> None:
    model = make_plain()
    model.graph.node.append(helper.make_node("Relu", ["normalized"], ["other"], name="node_other"))
    before = copy_of(model)
    assert for_integers(model, "x86") == before
