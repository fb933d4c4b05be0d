"""The backbone of the deploy graph: the nodes that FP16 and INT8 convert."""

import onnx

__all__ = ["OPERATORS", "backbone"]

OPERATORS = ("Conv", "Relu", "Add", "MaxPool")
"""Operators that FP16 and INT8 convert."""


def backbone(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Returns the nodes of the backbone whose operators can be converted, in the order of the graph.

    The nodes after the last convolution, in an ensemble that of each network, stay in float: they are few, and logits
    and heatmaps are computed from them.
    """
    maps = {info.name for info in model.graph.value_info if len(info.type.tensor_type.shape.dim) == 4}
    before_convolutions: set[str] = set()
    nodes = []
    for node in reversed(model.graph.node):  # they are in the order of the computation
        if node.op_type == "Conv" or before_convolutions.intersection(node.output):
            before_convolutions.update(node.input)
            if node.op_type in OPERATORS and node.output[0] in maps:
                nodes.append(node)
    return nodes[::-1]
