"""Operators of a QDQ graph in PyTorch: in integers where onnxruntime computes in integers, else in float32."""

from collections.abc import Callable
from typing import Any, TypeAlias

import onnx
import torch
from torch import Tensor, nn

from ctonnx_export.quantization.learned.integers import Integers, Sum, real

__all__ = ["OPERATORS", "Value"]

Value: TypeAlias = Tensor | Integers | Sum
"""A tensor between two nodes."""


def _conv(attributes: dict[str, Any], pixels: Value, weight: Value, bias: Value | None = None) -> Value:
    if isinstance(pixels, Integers) and isinstance(weight, Integers):
        scale = pixels.scale * weight.scale.reshape(1, -1, 1, 1)
        if bias is None or isinstance(bias, Integers):  # the integers of a bias are steps of the sums
            sums = _convolved(attributes, pixels.values, weight.values, None if bias is None else bias.values)
            return Integers(sums, scale)
        sums = _convolved(attributes, pixels.values, weight.values, None)
        return sums * scale + real(bias).reshape(1, -1, 1, 1)
    return _convolved(attributes, real(pixels), real(weight), None if bias is None else real(bias))


def _convolved(attributes: dict[str, Any], pixels: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if (top, left) != (bottom, right):
        pixels = nn.functional.pad(pixels, (left, right, top, bottom))
        top = left = 0
    found: Tensor = nn.functional.conv2d(
        pixels, weight, bias, attributes.get("strides", 1), (top, left), attributes.get("dilations", 1)
    )
    return found


def _max_pool(attributes: dict[str, Any], pixels: Value) -> Value:
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    values = pixels.values if isinstance(pixels, Integers) else real(pixels)
    padded = nn.functional.pad(values, (left, right, top, bottom), value=-torch.inf)
    found = nn.functional.max_pool2d(padded, attributes["kernel_shape"], attributes.get("strides", 1))
    return Integers(found, pixels.scale) if isinstance(pixels, Integers) else found


def _relu(attributes: dict[str, Any], values: Value) -> Value:
    if isinstance(values, Integers):
        return Integers(values.values.relu(), values.scale)
    return real(values).relu()


def _add(attributes: dict[str, Any], first: Value, second: Value) -> Value:
    if isinstance(first, Integers) and isinstance(second, Integers):
        return Sum(first, second)
    return real(first) + real(second)


def _gemm(attributes: dict[str, Any], pooled: Value, weight: Value, bias: Value) -> Tensor:
    weights = real(weight)
    return nn.functional.linear(real(pooled), weights if attributes.get("transB") else weights.T, real(bias))


def _cast(attributes: dict[str, Any], values: Value) -> Tensor:
    if attributes["to"] != onnx.TensorProto.FLOAT:
        raise ValueError("expected a cast to float32 before the probabilities, found another")
    return real(values).float()


def _reshape(attributes: dict[str, Any], values: Value, shape: Value) -> Tensor:
    tensor = real(values)
    return tensor.reshape([size or tensor.shape[place] for place, size in enumerate(real(shape).tolist())])


OPERATORS: dict[str, Callable[..., Value]] = {
    "Add": _add,
    "Cast": _cast,
    "Conv": _conv,
    "Div": lambda attributes, first, second: real(first) / real(second),
    "Gemm": _gemm,
    "Log": lambda attributes, values: real(values).log(),
    "MaxPool": _max_pool,
    "Mean": lambda attributes, *values: torch.stack([real(value) for value in values]).mean(0),
    "Mul": lambda attributes, first, second: real(first) * real(second),
    "ReduceMean": lambda attributes, values, axes: real(values).mean(
        real(axes).tolist(), keepdim=bool(attributes.get("keepdims", 1))
    ),
    "Relu": _relu,
    "Reshape": _reshape,
    "Softmax": lambda attributes, values: real(values).softmax(attributes.get("axis", -1)),
    "Sub": lambda attributes, first, second: real(first) - real(second),
    "Transpose": lambda attributes, values: real(values).permute(attributes["perm"]),
}
"""Functions of a node's attributes and inputs, by operator."""
