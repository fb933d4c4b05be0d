"""Which layers are called the noisiest."""

import numpy as np
import onnx
from numpy.typing import NDArray

from ctonnx_export.noise import noisiest
from ctonnx_export.quantization import Scheme, quantize, quantized_tensors
from ctonnx_export.ranges import collect_ranges


def test_layer_whose_input_has_a_wide_and_mostly_empty_range_comes_first(
    small_model: onnx.ModelProto, scans: NDArray[np.uint8]
) -> None:
    ranges = collect_ranges(small_model, quantized_tensors(small_model), [scans])
    quantized = quantize(small_model, ranges, Scheme(calibrator="minmax"))
    assert sorted(noisiest(small_model, quantized, scans[:2])) == [
        "node_a.shortcut",
        "node_a1",
        "node_a2",
        "node_b1",
        "node_b2",
        "node_stem",
    ]
    ranges._highest["b1.relu"].append(1000.0)
    assert noisiest(small_model, quantize(small_model, ranges, Scheme(calibrator="minmax")), scans[:2])[0] == "node_b2"
