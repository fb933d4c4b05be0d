"""Input stem, from the pixels through the first convolution: equivalent forms that are faster in INT8."""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ctonnx.artifacts.report_schema import Target

__all__ = ["fold_division", "for_integers", "space_to_depth"]

_BLOCK = 2  # side of a block of pixels: the first convolution's stride


def for_integers(model: onnx.ModelProto, target: Target) -> onnx.ModelProto:
    """Returns the FP32 model that is quantized for a target; its outputs are the same except for rounding.

    Shapes must be inferred again.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    fold_division(copied)
    if target != "tensorrt":  # not measured there
        space_to_depth(copied)
    return copied


def fold_division(model: onnx.ModelProto) -> None:
    """Folds the division of the normalization into the weights of the first convolutions, in place.

    This saves one pass over the pixels. FP16 would lose accuracy, as the weights become small for its range; INT8 has a
    scale per output channel. The subtraction must precede the padding of the convolution, so it is not folded.

    Args:
        model: Model in FP32, with a first convolution or, of an ensemble, several that read the same pixels; not
            changed unless a Sub and a Div by constants precede them.
    """
    (nodes, convolutions), constants = _stem(model), _constants(model)
    if [node.op_type for node in nodes[-2:]] != ["Sub", "Div"]:
        return
    subtraction, division = nodes[-2:]
    if subtraction.input[1] not in constants or division.input[1] not in constants:
        return
    std = constants[division.input[1]]
    for convolution in convolutions:
        weight = constants[convolution.input[1]]
        scaled = numpy_helper.to_array(weight) / numpy_helper.to_array(std).astype(np.float64)
        weight.CopyFrom(numpy_helper.from_array(scaled.astype(np.float32), weight.name))
        convolution.input[0] = subtraction.output[0]
    model.graph.initializer.remove(std)
    model.graph.node.remove(division)


def space_to_depth(model: onnx.ModelProto) -> None:
    """Rearranges blocks of 2 x 2 pixels into 12 channels, so that the first convolutions have stride 1; in place.

    Before it multiplies, onnxruntime copies the 7 rows under the kernel for every position of the output, a few bytes
    each; with the pixels in blocks there are 4 rows to copy. The weights are the same, padded with zeros, so every sum
    has the same terms: with the same scales, the outputs of an INT8 model are bit-identical. The pixels keep their
    order up to the convolution, and the mean is subtracted from a whole row of them.

    Source: `conv0_space_to_depth` of Google's submissions to MLPerf, there for the TPU.

    Args:
        model: Model after `fold_division`; its shapes must be inferred again. It is not changed if its height or width
            is odd, or unless only a Transpose, a Cast and a Sub precede convolutions of stride 2 with an odd kernel and
            half of it as padding.
    """
    (nodes, convolutions), constants = _stem(model), _constants(model)
    height, width = (size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim[1:3])
    if [node.op_type for node in nodes] != ["Transpose", "Cast", "Sub"] or height % _BLOCK or width % _BLOCK:
        return
    mean = constants.get(nodes[2].input[1])
    weights = [constants[convolution.input[1]] for convolution in convolutions]
    if mean is None or not all(map(_can_gather, convolutions, weights)):
        return
    for convolution, weight in zip(convolutions, weights, strict=True):
        _gather_kernel(convolution, weight)
    _gather_pixels(model, [*nodes, *convolutions], mean, (height // _BLOCK, width // _BLOCK))


def _can_gather(convolution: onnx.NodeProto, weight: onnx.TensorProto) -> bool:
    """Returns whether a convolution has stride 2, an odd kernel and half of it as padding."""
    kernel = weight.dims[-1]
    attributes = {item.name: helper.get_attribute_value(item) for item in convolution.attribute}
    expected = {"strides": [_BLOCK] * 2, "pads": [kernel // 2] * 4}
    return kernel % 2 == 1 and all(attributes.get(name) == value for name, value in expected.items())


def _gather_kernel(convolution: onnx.NodeProto, weight: onnx.TensorProto) -> None:
    """Rearranges the weights of a convolution for blocks of 2 x 2 pixels, in place.

    The shape [outputs, channels, kernel, kernel] becomes [outputs, 4 * channels, blocks, blocks]; the channels of a
    block are in the order of its rows, columns and channels.
    """
    outputs, channels, kernel, _ = weight.dims
    before = -(-(kernel // 2) // _BLOCK)  # blocks of padding
    ahead = before * _BLOCK - kernel // 2  # pixels of padding before the kernel
    after_kernel = -(ahead + kernel) % _BLOCK
    padded = np.pad(numpy_helper.to_array(weight), [(0, 0), (0, 0), (ahead, after_kernel), (ahead, after_kernel)])
    blocks = padded.shape[-1] // _BLOCK
    split = padded.reshape(outputs, channels, blocks, _BLOCK, blocks, _BLOCK).transpose(0, 3, 5, 1, 2, 4)
    gathered = np.ascontiguousarray(split.reshape(outputs, -1, blocks, blocks))
    weight.CopyFrom(numpy_helper.from_array(gathered, weight.name))
    after = blocks - 1 - before
    changed = {"kernel_shape": [blocks] * 2, "strides": [1, 1], "pads": [before, before, after, after]}
    kept = [item for item in convolution.attribute if item.name not in changed]
    del convolution.attribute[:]
    convolution.attribute.extend([*kept, *(helper.make_attribute(*item) for item in changed.items())])


def _gather_pixels(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], mean: onnx.TensorProto, shape: tuple[int, int]
) -> None:
    """Rearranges the pixels before Cast, Sub and Convs into blocks of 2 x 2; `shape` is their rows and columns."""
    layout, cast, subtraction, *convolutions = nodes
    rows, columns = shape
    means = numpy_helper.to_array(mean).reshape(-1)
    mean.CopyFrom(numpy_helper.from_array(np.tile(means, (columns, _BLOCK**2)), mean.name))
    shapes = {"pairs": [0, rows, _BLOCK, columns, _BLOCK * len(means)], "places": [0, *shape, _BLOCK**2 * len(means)]}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(sizes), f"pixels.{name}.shape") for name, sizes in shapes.items()
    )
    rest = [node for node in model.graph.node if node not in nodes]
    cast.input[0], subtraction.output[0] = "pixels.places", "pixels.centered"
    steps = [
        _node("Reshape", [layout.input[0], "pixels.pairs.shape"], "pixels.pairs"),
        _node("Transpose", ["pixels.pairs"], "pixels.gathered", perm=[0, 1, 3, 2, 4]),
        _node("Reshape", ["pixels.gathered", "pixels.places.shape"], "pixels.places"),
        cast,
        subtraction,
        _node("Transpose", ["pixels.centered"], convolutions[0].input[0], perm=[0, 3, 1, 2]),
        *convolutions,
    ]
    graph = onnx.GraphProto()
    graph.CopyFrom(model.graph)
    del graph.node[:], graph.value_info[:]
    graph.node.extend([*steps, *rest])
    model.graph.CopyFrom(graph)


def _node(kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], name=f"stem_{output}", **attributes)


def _stem(model: onnx.ModelProto) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
    """Returns the nodes from the pixels to the first convolutions, in their order, and these convolutions.

    Nodes whose outputs others read, too, are left out, with those before them.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    made_by = {node.output[0]: node for node in model.graph.node}
    pixels = next(node for node in model.graph.node if node.op_type == "Conv").input[0]
    convolutions = [node for node in readers[pixels] if node.op_type == "Conv"]
    nodes: list[onnx.NodeProto] = []
    read_by = convolutions
    while (before := made_by.get(pixels)) and len(readers[pixels]) == len(read_by):
        nodes.insert(0, before)
        pixels, read_by = before.input[0], [before]
    return nodes, convolutions


def _constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {weight.name: weight for weight in model.graph.initializer}
