"""Checks without onnxruntime that a graph has only the operators and sizes of a ctonnx export.

A model file is a program. One from an unknown source can loop forever, read other files, or request more memory than
there is, as soon as a session is created. The needs of an exported ResNet50 are known and bounded: everything else is
rejected before onnxruntime reads the file. `docs/reference/model-file.md` has the list.
"""

import math
from pathlib import Path

from ctonnx.artifacts.onnx_file.protobuf import Message, message
from ctonnx.errors import ModelError

__all__ = ["IR_VERSION", "OPERATORS", "OPSET", "check_graph"]

OPSET = 20
"""ONNX operator set of exported models; older ones are accepted."""

IR_VERSION = 10
"""Version of the ONNX format of exported models; older ones are accepted."""

OPERATORS = frozenset(
    {
        # operators of the exports
        *("Add", "Cast", "Clip", "Concat", "Conv", "DequantizeLinear", "Div", "Gemm", "Greater"),
        *("Identity", "Log", "MatMul", "MaxPool", "Mul", "QuantizeLinear", "ReduceMean", "ReduceMin", "ReduceSum"),
        *("Relu", "Reshape", "Slice", "Softmax", "Split", "Sub", "Transpose", "Unsqueeze"),
        # operators that other versions of the exporter and the simplifier write instead
        *("AveragePool", "BatchNormalization", "Constant", "Flatten", "GlobalAveragePool", "Squeeze"),
    }
)
"""Operators that a graph may have, all of ONNX's own domain and without a subgraph."""

_OWN = ("", "ai.onnx")
_MOST_NODES = 10_000  # the largest export, in INT8, has about 900
_LARGEST_ATTRIBUTE = 4096  # kernels, strides, padding: at most the side of the largest image
_MAKE = "the model was made by something else, or by a newer ctonnx; export it with: ctonnx export RUN"

# Numbers of fields in onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto)
_IR, _GRAPH, _OPSETS, _TRAINING, _FUNCTIONS = 1, 7, 8, 20, 25
_ABSENT = {_TRAINING: "training steps", _FUNCTIONS: "functions"}
_NODES, _INITIALIZERS, _SPARSE_INITIALIZERS = 1, 5, 15
_OP_TYPE, _ATTRIBUTES, _DOMAIN = 4, 5, 7
_INTEGER, _TENSOR, _INNER_GRAPH, _INTEGERS, _TENSORS, _INNER_GRAPHS, _SPARSE, _SPARSES = 3, 5, 6, 8, 10, 11, 22, 23
_CHECKED = (_INTEGER, _TENSOR, _INNER_GRAPH, _INTEGERS, _TENSORS, _INNER_GRAPHS, _SPARSE, _SPARSES)
_DIMENSIONS, _EXTERNAL, _LOCATION = 1, 13, 14
_VALUES = (4, 5, 6, 7, 9, 10, 11)


class _Unsupported(Exception):
    """Graph that is not like those of ctonnx, with the expected and the found part."""


def check_graph(model: Path | bytes, *, name: str | None = None) -> None:
    """Raises an error, with a name or the path, if a model's graph has anything that exported models do not have.

    Raises:
        ModelError: If it has another operator, functions, training steps, sparse weights, weights in another file,
            weights with fewer values than their shape, a newer format or operator set; or if it is not an ONNX file.
        OSError: The file cannot be opened.
    """
    name = name or (f"'{model}'" if isinstance(model, Path) else "the model")
    try:
        with message(model) as whole:
            _check_model(whole)
    except _Unsupported as error:
        raise ModelError(f"{error} in {name}: {_MAKE}") from error
    except ValueError as error:
        raise ModelError(
            f"{name} is not a whole ONNX model ({error}); if it was copied or downloaded, do that again, else export "
            "it again"
        ) from error


def _check_model(whole: Message) -> None:
    has_graph = False
    for field in whole:
        if field.number == _IR and (field.value or 0) > IR_VERSION:
            raise _Unsupported(f"expected version {IR_VERSION} of the ONNX format or an older one, found {field.value}")
        if field.number == _OPSETS:
            _check_opset(whole.inner(field))
        elif field.number in _ABSENT:
            raise _Unsupported(f"expected a graph without {_ABSENT[field.number]}, found some")
        elif field.number == _GRAPH:
            has_graph = True
            _check_nodes_and_weights(whole.inner(field))
    if not has_graph:
        raise ValueError("it has no graph")


def _check_opset(entry: Message) -> None:
    domain, version = "", 0
    for field in entry:
        if field.number == 1:
            domain = entry.text(field)
        elif field.number == 2:
            version = field.value or 0
    if domain in _OWN and version > OPSET:
        raise _Unsupported(f"expected operator set {OPSET} or an older one, found {version}")


def _check_nodes_and_weights(graph: Message) -> None:
    nodes = 0
    for field in graph.only(_NODES, _INITIALIZERS, _SPARSE_INITIALIZERS):
        if field.number == _NODES:
            nodes += 1
            _check_node(graph.inner(field))
        elif field.number == _INITIALIZERS:
            _check_tensor(graph.inner(field))
        elif field.number == _SPARSE_INITIALIZERS:
            raise _Unsupported("expected a graph without sparse weights, found some")
    if nodes > _MOST_NODES:
        raise _Unsupported(f"expected a graph of at most {_MOST_NODES} nodes, found {nodes}")


def _check_node(node: Message) -> None:
    names, attributes = {_OP_TYPE: "", _DOMAIN: ""}, []
    for field in node.only(_OP_TYPE, _ATTRIBUTES, _DOMAIN):
        if field.number == _ATTRIBUTES:
            attributes.append(field)
        else:
            names[field.number] = node.content(field).decode(errors="replace")
    operator, domain = names.values()
    if domain not in _OWN:
        raise _Unsupported(f"expected only operators of ONNX's own domain, found {operator[:60]!r} of {domain[:60]!r}")
    if operator not in OPERATORS:
        raise _Unsupported(f"expected only the operators of a ctonnx model, found {operator[:60]!r}")
    for field in attributes:
        _check_attribute(node.inner(field), operator)


def _check_attribute(attribute: Message, operator: str) -> None:
    for field in attribute.only(*_CHECKED):
        if field.number in (_INNER_GRAPH, _INNER_GRAPHS):
            raise _Unsupported(f"expected operators without a graph inside, found '{operator}' with one")
        if field.number in (_SPARSE, _SPARSES):
            raise _Unsupported(f"expected operators without sparse values, found '{operator}' with some")
        if field.number in (_TENSOR, _TENSORS):
            _check_tensor(attribute.inner(field))
        elif field.number in (_INTEGER, _INTEGERS):
            for value in attribute.numbers(field):
                if abs(value) > _LARGEST_ATTRIBUTE and operator != "Constant":
                    raise _Unsupported(
                        f"expected settings of operators up to {_LARGEST_ATTRIBUTE}, found '{operator}' with {value}"
                    )


def _check_tensor(tensor: Message) -> None:
    sides: list[int] = []
    content = 0
    for field in tensor:
        if field.number == _DIMENSIONS:
            sides += tensor.numbers(field)
        elif field.number == _EXTERNAL or (field.number == _LOCATION and field.value):
            raise _Unsupported("expected all weights in the model's one file, found some in another file")
        elif field.number in _VALUES:
            content += field.stop - field.begin
    values = math.prod(sides)
    # Two 4-bit numbers are one byte, and every other value is one byte or more.
    if min(sides, default=0) < 0 or values > 2 * content:
        raise _Unsupported(f"expected weights of as many values as are in the file, found some of shape {sides[:8]}")
