"""Which layers lose the most signal to quantization."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization.qdq_loss_debug import (
    collect_activations,
    compute_activation_error,
    compute_weight_error,
    create_activation_matching,
    create_weight_matching,
    modify_model_output_intermediate_tensors,
)

from ctonnx_export.quantization import backbone

__all__ = ["noisiest"]


def noisiest(model: onnx.ModelProto, quantized: onnx.ModelProto, pixels: NDArray[np.uint8]) -> tuple[str, ...]:
    """Returns the names of the convolutions, the one with the worst signal-to-noise ratio first.

    A convolution's noise is that which quantization adds to its input and to its weights, each relative to the signal
    there, measured by onnxruntime's `qdq_loss_debug`. It keeps all activations: a few images are enough and as much as
    the memory holds.

    Args:
        model: in FP32, with shapes inferred.
        quantized: the same in INT8.
        pixels: uint8 [images, size, size, 3].
    """
    with tempfile.TemporaryDirectory(prefix="ctonnx-") as folder:
        before, after, augmented = (Path(folder) / f"{name}.onnx" for name in ("before", "after", "augmented"))
        onnx.save(model, before)
        onnx.save(quantized, after)
        modify_model_output_intermediate_tensors(after, augmented, ["QuantizeLinear", "DequantizeLinear"])
        activations = collect_activations(str(augmented), _Reader(pixels))
        # Without the float model's activations the ratio is that of a tensor before and after it is quantized.
        matched = {name: {**pair, "float": []} for name, pair in create_activation_matching(activations).items()}
        for name in {node.output[0] for node in model.graph.node if node.op_type == "Relu"} & matched.keys():
            # The quantizer leaves a ReLU to the zero point: what it cuts off is no noise.
            matched[name]["pre_qdq"] = [np.maximum(values, 0) for values in matched[name]["pre_qdq"]]
        inputs = {name: errors["qdq_err"] for name, errors in compute_activation_error(matched).items()}
        weights = compute_weight_error(create_weight_matching(str(before), str(after)))
    noise = {
        node.name: _power(inputs.get(node.input[0])) + _power(weights.get(node.input[1]))
        for node in backbone(model)
        if node.op_type == "Conv"
    }
    return tuple(sorted(noise, key=lambda name: -noise[name]))


class _Reader:
    """Gives one image after the other."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels

    def __iter__(self) -> Iterator[dict[str, NDArray[np.uint8]]]:
        return ({"pixels": image[None]} for image in self._pixels)


def _power(decibels: float | None) -> float:
    """Returns the noise's power relative to the signal's; none where a tensor is not quantized."""
    return 0.0 if decibels is None else 10 ** (-decibels / 10)
