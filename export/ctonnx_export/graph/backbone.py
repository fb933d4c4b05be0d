"""The backbone of the deploy graph: the nodes that FP16 and INT8 convert."""

import onnx

__all__ = ["backbone"]


OPERATORS = ("Conv", "Relu", "Add", "MaxPool")


def backbone(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Returns the nodes of the convolutional part, of the kinds that are quantized, in the graph's order.

    What comes behind the last convolution stays in float: it is small, and logits and heatmaps are read from it.
    """
    maps = {info.name for info in model.graph.value_info if len(info.type.tensor_type.shape.dim) == 4}
    nodes = [node for node in model.graph.node if node.op_type in OPERATORS and node.output[0] in maps]
    last = max(position for position, node in enumerate(nodes) if node.op_type == "Conv")
    return nodes[: last + 1]
