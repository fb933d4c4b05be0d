"""The temperature in a model's graph: replaced without a change to the network, which a hash shows."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ctonnx.errors import ModelError

__all__ = ["network_sha256", "replace_temperature"]

_LOGITS, _PROBABILITIES = "logits", "probabilities"
_NAME, _SCALED = "ctonnx.temperature", "ctonnx.scaled_logits"
# What exporters and simplifiers make of `(logits / temperature).softmax(1)`, in any precision.
_OPERATORS = {"Cast", "Constant", "Div", "Identity", "Mul", "Softmax"}


def replace_temperature(model: onnx.ModelProto, temperature: float) -> onnx.ModelProto:
    """Returns a copy of a model whose probabilities are `Softmax(Div(logits, temperature))`, in float32.

    Whatever the graph has between the outputs `logits` and `probabilities` is removed: a division, or none if the
    temperature was 1, and the casts of another precision. The metadata are kept.

    Raises:
        ModelError: If the nodes between the two outputs are not those of an exported model.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    graph = copied.graph
    nodes, constants = _tail(graph)
    made = {name for node in nodes for name in node.output}
    _remove(graph.node, lambda node: bool(made.intersection(node.output)))
    _remove(graph.initializer, lambda weight: weight.name in constants)
    _remove(graph.value_info, lambda info: info.name in made | constants)
    graph.initializer.append(numpy_helper.from_array(np.array(temperature, np.float32), _NAME))
    graph.node.append(helper.make_node("Div", [_LOGITS, _NAME], [_SCALED], name=_SCALED))
    graph.node.append(helper.make_node("Softmax", [_SCALED], [_PROBABILITIES], name=_PROBABILITIES, axis=1))
    onnx.checker.check_model(copied, full_check=True)
    return copied


def network_sha256(model: onnx.ModelProto) -> str:
    """Returns the SHA-256 of a model's weights and nodes up to the logits, heatmap and novelty: 64 hexadecimal digits.

    The nodes between `logits` and `probabilities`, with the temperature, do not count.

    Raises:
        ModelError: If these are not those of an exported model.
    """
    nodes, constants = _tail(model.graph)
    made = {name for node in nodes for name in node.output}
    digest = hashlib.sha256()
    for weight in sorted(model.graph.initializer, key=lambda weight: weight.name):
        if weight.name not in constants:
            values = numpy_helper.to_array(weight)
            digest.update(f"{weight.name} {weight.data_type} {list(weight.dims)}\n".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
    for node in model.graph.node:
        if not made.intersection(node.output):
            digest.update(node.SerializeToString(deterministic=True))
    return digest.hexdigest()


def _tail(graph: onnx.GraphProto) -> tuple[list[onnx.NodeProto], set[str]]:
    """Returns the nodes between the logits and the probabilities, and the names of the weights that only these use."""
    producers = {name: node for node in graph.node for name in node.output}
    missing = {_LOGITS, _PROBABILITIES} - producers.keys()
    if missing:
        raise ModelError(f"expected a model with the output '{min(missing)}', found none; export the model again")
    before = _ancestors([_LOGITS], producers, set())
    between = _ancestors([_PROBABILITIES], producers, before) - before
    nodes = [node for node in graph.node if between.intersection(node.output)]
    operators = [node.op_type for node in nodes]
    others = [node for node in graph.node if not between.intersection(node.output)]
    used_by_others = {name for node in others for name in node.input}
    if not set(operators) <= _OPERATORS or operators.count("Softmax") != 1 or between & used_by_others:
        raise ModelError(
            "expected a division and a softmax between the outputs 'logits' and 'probabilities', found "
            f"{', '.join(operators)}; export the model again"
        )
    weights = {weight.name for weight in graph.initializer}
    return nodes, (weights & {name for node in nodes for name in node.input}) - used_by_others


def _ancestors(names: Iterable[str], producers: dict[str, onnx.NodeProto], known: set[str]) -> set[str]:
    """Returns the tensors that nodes compute and that some tensors depend on, with these, except beyond `known`."""
    found, left = set[str](), list(names)
    while left:
        name = left.pop()
        if name not in found and name in producers:
            found.add(name)
            if name not in known:
                left += producers[name].input
    return found


def _remove(field: Any, removed: Callable[[Any], bool]) -> None:
    """Removes items of a protobuf field in place."""
    for place in reversed(range(len(field))):
        if removed(field[place]):
            del field[place]
