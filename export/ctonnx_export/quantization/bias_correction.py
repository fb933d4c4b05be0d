"""Bias correction: removes the mean error that quantization adds to the logits."""

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.image_sets import BATCH, ImageSet

__all__ = ["BiasCorrection"]

_FEWEST, _MOST = 8, 128  # images: the mean of fewer is not reliable, and more do not improve it


class BiasCorrection:
    """Subtracts the mean error of the logits from the bias of the last dense layer.

    Rounding and clipping shift the means of the activations and so the logits of all images; the error that remains
    after the correction differs from image to image. Heatmaps do not depend on this bias. Source: the empirical bias
    correction of Nagel et al. 2019 (https://arxiv.org/abs/1906.04721), applied only to the output, which is in float.

    Args:
        model: Model in FP32.
        images: Calibration images; up to 128 of them, evenly spaced, are used. With fewer than 8, none are.

    Attributes:
        rows: Rows of the images that are used.
    """

    def __init__(self, model: onnx.ModelProto, images: ImageSet) -> None:
        count = min(len(images), _MOST) if len(images) >= _FEWEST else 0
        self.rows: NDArray[np.intp] = np.arange(count) * len(images) // max(count, 1)
        self._images = images
        self._logits = run_onnx(model, self._batches()).logits if count else None

    def apply(self, quantized: onnx.ModelProto) -> None:
        """Corrects a quantized model in place."""
        if self._logits is None:
            return
        error = (run_onnx(quantized, self._batches()).logits - self._logits).mean(axis=0, dtype=np.float64)
        dense = next(node for node in quantized.graph.node if "logits" in node.output)
        bias = next(weight for weight in quantized.graph.initializer if weight.name == dense.input[2])
        corrected = (numpy_helper.to_array(bias) - error).astype(np.float32)
        bias.CopyFrom(numpy_helper.from_array(corrected, bias.name))

    def _batches(self) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(self.rows), BATCH):
            yield self._images.pixels(self.rows[start : start + BATCH])
