"""FP16: the backbone in half precision, except for nodes whose values on real images come near its range."""

from collections.abc import Collection, Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from ctonnx_export.graph.backbone import backbone
from ctonnx_export.graph.sessions import open_model

__all__ = ["LARGEST", "find_overflowing", "to_half"]

LARGEST = 65504.0
"""Largest finite number in FP16."""

_FLOAT, _HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
_MARGIN = 2.0  # other images may have somewhat larger values


def find_overflowing(model: onnx.ModelProto, batches: Iterable[NDArray[np.uint8]]) -> tuple[str, ...]:
    """Returns the names of the nodes whose weights, or outputs for real images, come near the limit of FP16's range.

    On a CPU onnxruntime computes FP16 models in FP32, so that an overflow would show only on the device. The model is
    in FP32, with shapes inferred; each batch is uint8 [images, size, size, 3].
    """
    nodes = backbone(model)
    weights = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    largest = {
        node.name: np.max([np.abs(weights[name]).max() for name in node.input if name in weights], initial=0.0)
        for node in nodes
    }
    augmented = onnx.ModelProto()
    augmented.CopyFrom(model)
    del augmented.graph.output[:]
    for node in nodes:
        for end in ("Max", "Min"):
            name = f"{node.output[0]}.{end}"
            augmented.graph.node.append(helper.make_node(f"Reduce{end}", [node.output[0]], [name], keepdims=0))
            augmented.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, []))
    session = open_model(augmented)
    for pixels in batches:
        ends = np.abs(session.run(None, {"pixels": pixels})).reshape(-1, 2).max(axis=1)
        for node, value in zip(nodes, ends, strict=True):
            largest[node.name] = np.maximum(largest[node.name], value)  # NaN stays NaN
    return tuple(node.name for node in nodes if not largest[node.name] * _MARGIN <= LARGEST)


def to_half(model: onnx.ModelProto, overflowing: Collection[str] = ()) -> onnx.ModelProto:
    """Returns the model, whose shapes are inferred, with its backbone in FP16; inputs and outputs are unchanged.

    The `overflowing` nodes and those that read their outputs stay in FP32.
    """
    too_large = {name for node in model.graph.node if node.name in overflowing for name in node.output}
    in_half = {
        node.name for node in backbone(model) if node.name not in overflowing and not too_large.intersection(node.input)
    }
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    weights = {weight.name for weight in model.graph.initializer}  # the converter would declare all of these FP16
    described = [info for info in copied.graph.value_info if info.name not in weights]
    del copied.graph.value_info[:]
    copied.graph.value_info.extend(described)
    converted: onnx.ModelProto = convert_float_to_float16(
        copied,
        keep_io_types=True,
        disable_shape_infer=True,
        op_block_list=[],
        node_block_list=[node.name for node in model.graph.node if node.name not in in_half],
    )
    _join_float_nodes(converted)
    wrapped = OnnxModel(converted)
    wrapped.prune_graph()
    wrapped.topological_sort()
    return converted


def _join_float_nodes(model: onnx.ModelProto) -> None:
    """Connects FP32 nodes directly if the converter rounds to FP16 between them."""
    casts = {node.output[0]: node for node in model.graph.node if node.op_type == "Cast"}

    def source(name: str) -> str:
        back = casts.get(name)
        there = casts.get(back.input[0]) if back else None
        if not back or not there or (back.attribute[0].i, there.attribute[0].i) != (_FLOAT, _HALF):
            return name
        return str(there.input[0])

    outputs = {item.name for item in model.graph.output}
    for node in model.graph.node:
        if not outputs.intersection(node.output):
            node.input[:] = [source(name) for name in node.input]
    for node in model.graph.node:
        if outputs.intersection(node.output) and node.op_type == "Cast" and source(node.output[0]) != node.output[0]:
            node.op_type = "Identity"
            node.input[0] = casts[node.input[0]].input[0]
            del node.attribute[:]
