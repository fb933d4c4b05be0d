"""Bias correction: removes the mean error that quantization adds to the logits."""

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from ctonnx_export.graph.sessions import open_model
from ctonnx_export.image_sets import BATCH, ImageSet

__all__ = ["BiasCorrection"]

_FEWEST, _MOST = 8, 128  # images: the mean of fewer is not reliable, and more do not improve it


class BiasCorrection:
    """Subtracts the mean error of the logits from the bias of the last dense layer, in an ensemble of each network.

    Rounding and clipping shift the means of the activations and so the logits of all images; the error that remains
    after the correction differs from image to image. Heatmaps do not depend on this bias. Source: the empirical bias
    correction of Nagel et al. 2019 (https://arxiv.org/abs/1906.04721), applied only to the output, which is in float.

    Args:
        model: Model in FP32.
        images: Calibration images; up to 128 of them, evenly spaced, are used. With fewer than 8, none are.

    Attributes:
        images: Calibration images.
        rows: Rows of the images that are used.
    """

    def __init__(self, model: onnx.ModelProto, images: ImageSet) -> None:
        count = min(len(images), _MOST) if len(images) >= _FEWEST else 0
        self.rows: NDArray[np.intp] = np.arange(count) * len(images) // max(count, 1)
        self.images = images
        self._logits = self._run(model, [layer.output[0] for layer in _last_layers(model)]) if count else []

    def apply(self, quantized: onnx.ModelProto) -> float:
        """Corrects a quantized model in place; returns the mean error of a logit that is left, 0 without images."""
        if not self._logits:
            return 0.0
        layers = _last_layers(quantized)
        found = self._run(quantized, [layer.output[0] for layer in layers])
        biases = {weight.name: weight for weight in quantized.graph.initializer}
        left = []
        for layer, logits, reference in zip(layers, found, self._logits, strict=True):
            bias, error = biases[layer.input[2]], (logits - reference).mean(axis=0, dtype=np.float64)
            left.append(float(np.abs(logits - reference - error).mean()))
            corrected = (numpy_helper.to_array(bias) - error).astype(np.float32)
            bias.CopyFrom(numpy_helper.from_array(corrected, bias.name))
        return sum(left) / len(left)

    def _run(self, model: onnx.ModelProto, tensors: list[str]) -> list[NDArray[np.float32]]:
        """Returns tensors for all of the images, [images, classes] each."""
        augmented = onnx.ModelProto()
        augmented.CopyFrom(model)
        del augmented.graph.output[:]
        augmented.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
        session = open_model(augmented)
        found = [session.run(tensors, {"pixels": pixels}) for pixels in self._batches()]
        return [np.concatenate(batches) for batches in zip(*found, strict=True)]

    def _batches(self) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(self.rows), BATCH):
            yield self.images.pixels(self.rows[start : start + BATCH])


def _last_layers(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Returns the last dense layers before the logits: one, or that of each network of an ensemble."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    found: dict[str, onnx.NodeProto] = {}
    left = ["logits"]
    while left:
        node = made_by.get(left.pop())
        if node is not None and node.op_type == "Gemm":
            found[node.name] = node
        elif node is not None:
            left += node.input
    return list(found.values())
