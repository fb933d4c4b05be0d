"""Sensitivity: how much the quantization of a single layer changes the outputs."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray

from ctonnx_export.graph.backbone import backbone
from ctonnx_export.graph.execution import run_onnx
from ctonnx_export.quantization.calibration import Ranges
from ctonnx_export.quantization.qdq import Scheme, quantize

__all__ = ["rank_by_sensitivity"]


def rank_by_sensitivity(
    model: onnx.ModelProto,
    ranges: Ranges,
    scheme: Scheme,
    pixels: NDArray[np.uint8],
    *,
    progress: Callable[[int], object] = lambda count: None,
) -> tuple[str, ...]:
    """Returns the names of the convolutions, the most sensitive first.

    Each convolution is quantized separately; its sensitivity is the mean |dp| of the probabilities. The signal-to-noise
    ratio at the layer itself is a poor substitute: that of a late layer may be low without any effect on the outputs.
    The model is in FP32, with shapes inferred; a few images, uint8 [images, size, size, 3], are enough for a ranking.
    """
    nodes = backbone(model)
    reference = run_onnx(model, [pixels]).probabilities
    change: dict[str, float] = {}
    for convolution in (node.name for node in nodes if node.op_type == "Conv"):
        others = tuple(node.name for node in nodes if node.name != convolution)
        alone = quantize(model, ranges, replace(scheme, integer_adds=False, excluded=others))
        change[convolution] = float(np.abs(run_onnx(alone, [pixels]).probabilities - reference).mean())
        progress(1)
    return tuple(sorted(change, key=lambda name: -change[name]))
