"""Which layers are called the noisiest."""

import numpy as np
import onnx
from numpy.typing import NDArray

from ctonnx.session import open_session
from ctonnx_export.noise import noisiest
from ctonnx_export.quantization import Scheme, quantize, quantized_tensors
from ctonnx_export.ranges import Ranges, collect_ranges


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


def test_what_a_relu_cuts_off_is_no_noise(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> None:
    """The quantizer leaves a ReLU to the zero point, and what stands before that holds the negatives still."""
    ranges = collect_ranges(small_model, quantized_tensors(small_model), [scans])
    orders = [
        noisiest(small_model, quantize(small_model, ranges, Scheme(target=target, calibrator="minmax")), scans[:2])
        for target in ("x86", "arm")
    ]
    assert orders[0] == orders[1]
    floor = noise_by_hand(small_model, scans[:2], ranges)
    assert list(orders[0][:4]) == sorted(floor, key=lambda name: -floor[name])[:4]  # the others are nearly alike


def noise_by_hand(model: onnx.ModelProto, pixels: NDArray[np.uint8], ranges: Ranges) -> dict[str, float]:
    """Returns each convolution's noise from its float input and weights, rounded to 8 bits in NumPy."""
    constants = {weight.name: onnx.numpy_helper.to_array(weight) for weight in model.graph.initializer}
    tensors = list(quantized_tensors(model))
    augmented = onnx.ModelProto()
    augmented.CopyFrom(model)
    augmented.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    session = open_session(augmented.SerializeToString())
    activations = dict(zip(tensors, session.run(tensors, {"pixels": pixels}), strict=True))
    noise = {}
    for node in model.graph.node:
        if node.op_type == "Conv":
            low, high = ranges.of("minmax")[node.input[0]]
            low, high = min(low, 0.0), max(high, 0.0)
            step = (high - low) / 255
            zero = round(-low / step)
            values = activations[node.input[0]]
            kept = (np.clip(np.round(values / step) + zero, 0, 255) - zero) * step
            weights = constants[node.input[1]]
            scale = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / 127
            rounded = np.round(weights / scale) * scale
            noise[node.name] = sum(
                float(((after - before) ** 2).sum() / (before**2).sum())
                for before, after in ((values, kept), (weights, rounded))
            )
    return noise
