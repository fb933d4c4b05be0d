"""INT8 for processors with AMX: weights for which onnxruntime uses AMX, with bit-identical outputs."""

import math

import numpy as np
import onnx
from onnx import numpy_helper

__all__ = ["shift_weights_for_amx"]

_OUTPUTS = 128
_PRODUCTS = 512  # per sum
_LOWEST = np.iinfo(np.int8).min


def shift_weights_for_amx(model: onnx.ModelProto) -> None:
    """Lowers the weights of wide convolutions by one and sets their zero point to -1, in place.

    For weights with a zero point of 0, onnxruntime uses kernels that read the pixels without a copy and multiply with
    VNNI. For others it first copies the pixels under the kernel into the rows of a matrix (im2col) and multiplies that
    with AMX, several times as fast. The copy pays off for many outputs (128) of long sums (512 products); narrow
    convolutions would become slower. The sums are the same integers, so the outputs are bit-identical on any processor.

    Source: `TryConvSymPrepack` in onnxruntime's core/providers/cpu/quantization/qlinearconv.cc.
    The model is in QDQ format, with symmetric weights. Convolutions in float or with weights of -128 are not changed.
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
