"""A QDQ graph as a PyTorch module: the same integers, scales and zero points, with gradients through the rounding.

Simulated quantization (Jacob et al. 2018, https://arxiv.org/abs/1712.05877) with learned step sizes (Esser et al. 2020,
https://arxiv.org/abs/1902.08153): the weights, the biases and all scales are trained, the zero points stay. It computes
what onnxruntime computes on a CPU, and not only about that: see `ctonnx_export.quantization.learned.integers`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn

from ctonnx_export.quantization.learned.integers import Integers, Sum, real, rounded, rounded_product, rounded_sum
from ctonnx_export.quantization.learned.operators import OPERATORS, Value

__all__ = ["FakeQuantized", "nodes_before"]

_WEIGHT_LIMIT = 127  # symmetric: -128 has no positive counterpart, and AMX's shift needs the room
_BIAS_LIMIT = 2**31 - 128  # the largest int32 that float32 has
_HALF_RANGE = 128  # steps of an input: a bias is trained in steps of a weight times this, as they add up
_TYPES = {"int8": (-128, 127), "uint8": (0, 255)}


class FakeQuantized(nn.Module):
    """The part of a QDQ graph before some tensors, whose weights, biases and scales can be trained.

    Args:
        quantized: Model in QDQ format.
        original: FP32 model that it was quantized from, with the weights before rounding.
        outputs: Names of tensors to compute.

    Raises:
        ValueError: If the graph has an operator that is not known here.
    """

    def __init__(self, quantized: onnx.ModelProto, original: onnx.ModelProto, outputs: Sequence[str]) -> None:
        super().__init__()
        self.outputs = tuple(outputs)
        self._model = quantized
        self._nodes = nodes_before(quantized, outputs)
        known = {"QuantizeLinear", "DequantizeLinear", *OPERATORS}
        if unknown := sorted({node.op_type for node in self._nodes} - known):
            raise ValueError(f"expected operators {', '.join(OPERATORS)} in the quantized graph, found {unknown[0]}")
        self._attributes = {
            node.output[0]: {item.name: helper.get_attribute_value(item) for item in node.attribute}
            for node in self._nodes
        }
        self._constants = _arrays(quantized)
        self._tensors = {name: torch.from_numpy(np.array(values)) for name, values in self._constants.items()}
        self._sources = {output: node for node in self._nodes for output in node.output}
        self._weights: dict[str, str] = {}  # dequantized tensor -> integers of a weight
        self._biases: dict[str, onnx.NodeProto] = {}  # integers of a bias, or itself in float -> its convolution
        self.values = nn.ParameterDict()
        """Weights and biases before rounding, in steps of their initial scales, by the names of their integers."""
        self.scales = nn.ParameterDict()
        """Logarithms of the scales' changes, by their names."""
        floats = _arrays(original)
        for node in self._nodes:
            if node.op_type == "QuantizeLinear":
                self._add_scale(node.input[1])
            elif node.op_type == "DequantizeLinear" and self._is_weight(node.input[0]):
                self._add_scale(node.input[1])
                self._weights[node.output[0]] = node.input[0]
                scale = self._by_channel(node, self._constants[node.input[1]])
                zero = self._by_channel(node, self._constants[node.input[2]]).astype(np.float32)
                rounded_steps = self._constants[node.input[0]] - zero
                self._add_value(node.input[0], _float_of(node.input[0], floats, rounded_steps * scale) / scale)
        for node in self._nodes:
            if node.op_type == "Conv" and node.input[1] in self._weights and len(node.input) > 2:
                name = self._name_of_bias(node)
                self._biases[name] = node
                scale = self._initial_scale_of_sums(node).numpy()
                self._add_value(name, _float_of(name, floats, self._constants[name] * scale) / (scale * _HALF_RANGE))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Returns the outputs for images, uint8 [batch, height, width, 3]."""
        return self.compute(pixels, self.outputs)

    def compute(self, pixels: Tensor, outputs: Sequence[str]) -> tuple[Tensor, ...]:
        """Returns some of the tensors for images: outputs, or tensors before them."""
        found: dict[str, Value] = {"pixels": pixels}
        zeros: dict[str, int] = {}  # of tensors that were quantized

        def tensor(name: str) -> Value | None:
            if not name:
                return None
            if name in self._biases:  # in float
                return self._bias(name)
            return found[name] if name in found else self._tensors[name]

        for node in self._nodes:
            name = node.output[0]
            if node.op_type == "QuantizeLinear":
                zeros[name] = int(self._constants[node.input[2]].item())
                found[name] = self._quantized(node, found, zeros)
            elif node.op_type == "DequantizeLinear":
                found[name] = self._dequantized(node, found)
                zeros[name] = zeros.get(node.input[0], 0)
            else:
                found[name] = OPERATORS[node.op_type](self._attributes[name], *map(tensor, node.input))
        return tuple(real(found[name]) for name in outputs)

    def as_onnx(self) -> onnx.ModelProto:
        """Returns the QDQ graph with the values and scales of this module."""
        changed: dict[str, NDArray[Any]] = {}
        with torch.no_grad():
            for node in self._nodes:
                if node.op_type == "QuantizeLinear" or node.output[0] in self._weights:
                    changed[node.input[1]] = self._scale(node.input[1]).numpy()
                if node.output[0] in self._weights:
                    integers = self._weight(node).values.numpy()
                    zero = self._by_channel(node, self._constants[node.input[2]])  # -1 for AMX
                    changed[node.input[0]] = integers + zero
            for name, convolution in self._biases.items():
                bias = self._bias(name)
                changed[name] = (bias.values if isinstance(bias, Integers) else real(bias)).double().numpy()
                if isinstance(bias, Integers):
                    changed[self._sources[convolution.input[2]].input[1]] = bias.scale.numpy()
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        for weight in model.graph.initializer:
            if weight.name in changed:
                before = self._constants[weight.name]
                values = changed[weight.name].reshape(before.shape).astype(before.dtype)
                weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        return model

    def _is_weight(self, name: str) -> bool:
        return name in self._constants and self._constants[name].dtype != np.int32

    def _name_of_bias(self, convolution: onnx.NodeProto) -> str:
        """Returns the name of a bias's integers or, if it is in float, of itself."""
        source = self._sources.get(convolution.input[2])
        return str(convolution.input[2] if source is None else source.input[0])

    def _add_scale(self, name: str) -> None:
        if _key(name) not in self.scales:
            self.scales[_key(name)] = nn.Parameter(torch.zeros_like(self._tensors[name], dtype=torch.float32))

    def _add_value(self, name: str, steps: NDArray[np.float32]) -> None:
        if _key(name) not in self.values:
            self.values[_key(name)] = nn.Parameter(torch.from_numpy(np.array(steps, np.float32)))

    def _scale(self, name: str) -> Tensor:
        scale: Tensor = self._tensors[name] * self.scales[_key(name)].exp()
        return scale

    def _by_channel(self, node: onnx.NodeProto, values: NDArray[Any]) -> NDArray[Any]:
        """Returns a weight's values for each channel in the shape that it can be divided by."""
        return values.reshape(-1, *[1] * (self._constants[node.input[0]].ndim - 1))

    def _quantized(self, node: onnx.NodeProto, found: Mapping[str, Value], zeros: Mapping[str, int]) -> Tensor:
        value, scale, zero = found[node.input[0]], self._scale(node.input[1]), zeros[node.output[0]]
        low, high = (limit - zero for limit in _TYPES[self._constants[node.input[2]].dtype.name])
        if isinstance(value, Integers):
            return rounded_product(value.values, value.scale / scale, low, high)
        if isinstance(value, Sum):
            inputs = self._sources[node.input[0]].input
            return rounded_sum(value, scale, (zeros[inputs[0]], zeros[inputs[1]], zero), low, high)
        return rounded(value / scale, low, high)

    def _dequantized(self, node: onnx.NodeProto, found: Mapping[str, Value]) -> Value:
        if node.output[0] in self._weights:
            return self._weight(node)
        if node.input[0] in self._biases:
            return self._bias(node.input[0])
        return Integers(real(found[node.input[0]]), self._scale(node.input[1]))

    def _weight(self, node: onnx.NodeProto) -> Integers:
        steps = self.values[_key(node.input[0])]
        ratio = self.scales[_key(node.input[1])].neg().exp().reshape(-1, *[1] * (steps.ndim - 1))
        integers = rounded_product(steps, ratio, -_WEIGHT_LIMIT, _WEIGHT_LIMIT)
        return Integers(integers, self._scale(node.input[1]))

    def _bias(self, name: str) -> Value:
        """Returns a bias: integers in steps of the convolution's sums, or float32 if the graph has it in float."""
        convolution = self._biases[name]
        value: Tensor = self.values[_key(name)] * _HALF_RANGE  # a power of two: exact
        if self._constants[name].dtype != np.int32:
            return value * self._initial_scale_of_sums(convolution)
        pixels, weight = (self._sources[source].input[1] for source in convolution.input[:2])
        ratio = (-self.scales[_key(pixels)] - self.scales[_key(weight)].reshape(-1)).exp()
        integers = rounded_product(value, ratio, -_BIAS_LIMIT, _BIAS_LIMIT)
        return Integers(integers, self._scale(pixels) * self._scale(weight).reshape(-1))

    def _initial_scale_of_sums(self, convolution: onnx.NodeProto) -> Tensor:
        """Returns the initial scale of a convolution's sums: that of its input by those of its weights."""
        pixels, weight = (self._tensors[self._sources[name].input[1]] for name in convolution.input[:2])
        return pixels * weight.reshape(-1)


def nodes_before(model: onnx.ModelProto, tensors: Sequence[str]) -> list[onnx.NodeProto]:
    """Returns the nodes that some tensors depend on, in the order of the graph."""
    wanted = set(tensors)
    nodes = []
    for node in reversed(model.graph.node):  # in the order of the computation
        if wanted.intersection(node.output):
            wanted.update(node.input)
            nodes.append(node)
    return nodes[::-1]


def _arrays(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}


def _float_of(
    integers: str, floats: Mapping[str, NDArray[Any]], dequantized: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Returns the weight or bias that some integers were rounded from; onnxruntime's quantizer adds to its name.

    Another name, such as that of a bias that several layers share, gives the dequantized integers.
    """
    return np.array(floats.get(integers.removesuffix("_quantized"), dequantized), np.float32)


def _key(name: str) -> str:
    return name.replace(".", "/")  # a parameter's name has no dot
