"""Which layers' quantization changes the answers most."""

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
    """Returns the names of the convolutions, the one whose quantization changes the answers most first.

    Each is quantized alone, and its noise is what that adds to the probabilities: their mean |dp|. What a layer's noise
    is beside the signal at the layer itself says little of this. A late layer's may be large and change no answer.

    Args:
        model: in FP32, with shapes inferred.
        ranges: of its activations.
        scheme: how the convolutions are quantized.
        pixels: uint8 [images, size, size, 3]; a few are enough for an order.
        progress: Called with 1 for each convolution.
    """
    nodes = backbone(model)
    answers = run_onnx(model, [pixels]).probabilities
    noise: dict[str, float] = {}
    for convolution in (node.name for node in nodes if node.op_type == "Conv"):
        others = tuple(node.name for node in nodes if node.name != convolution)
        alone = quantize(model, ranges, replace(scheme, integer_adds=False, excluded=others))
        noise[convolution] = float(np.abs(run_onnx(alone, [pixels]).probabilities - answers).mean())
        progress(1)
    return tuple(sorted(noise, key=lambda name: -noise[name]))
