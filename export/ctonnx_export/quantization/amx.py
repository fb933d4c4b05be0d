"""INT8 for processors with AMX: weights that onnxruntime multiplies with matrix tiles; the answers stay the same."""

import math

import numpy as np
import onnx
from onnx import numpy_helper

__all__ = ["shift_weights_for_amx"]

_OUTPUTS = 128
_PRODUCTS = 512  # in each sum
_LOWEST = np.iinfo(np.int8).min


def shift_weights_for_amx(model: onnx.ModelProto) -> None:
    """Lowers the weights of wide convolutions by one, in place, and gives them a zero point of -1, which undoes it.

    For weights with a zero point of 0 onnxruntime has kernels of their own, which read the pixels where they lie and
    multiply with VNNI. For others it first copies the pixels under the kernel, as rows of a matrix, and multiplies that
    one with the processor's AMX, several times as fast. What a convolution does with a copy pays for it where there are
    many outputs (128) of long sums (512 products); narrow ones would lose. The sums are the same integers, so that the
    answers are the same to the bit, on any processor.

    Source: `TryConvSymPrepack` in onnxruntime's core/providers/cpu/quantization/qlinearconv.cc.

    Args:
        model: in INT8, as QDQ, with symmetric weights. A convolution in float, or one whose weights use -128, is left
            as it is.
    """
    constants = {weight.name: weight for weight in model.graph.initializer}
    made_by = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        dequantize = made_by.get(node.input[1]) if node.op_type == "Conv" else None
        if dequantize is None:
            continue
        weight, _, zero_point = (constants[name] for name in dequantize.input)
        outputs, *others = weight.dims
        values = numpy_helper.to_array(weight)
        if outputs < _OUTPUTS or math.prod(others) < _PRODUCTS or values.min() == _LOWEST:
            continue
        weight.CopyFrom(numpy_helper.from_array(values - np.int8(1), weight.name))
        zero = numpy_helper.to_array(zero_point)
        zero_point.CopyFrom(numpy_helper.from_array(zero - np.int8(1), zero_point.name))
