"""Exactness: the module that was trained against onnxruntime on the graph that was written from it."""

import platform
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ctonnx.artifacts.report_schema import Target
from ctonnx.errors import CheckFailed
from ctonnx.parity.acceptance_gates import DEVICE_GATES, GATES
from ctonnx.parity.rounding import rounded_up
from ctonnx_export.image_sets import BATCH
from ctonnx_export.quantization.learned.fake_quantization import FakeQuantized
from ctonnx_export.trial import ComparisonSet

__all__ = ["Exactness", "bound_of", "check_exactness"]

_MOST = 128  # images: PyTorch computes them in float32
_X86 = frozenset({"x86_64", "AMD64"})


@dataclass(frozen=True, kw_only=True)
class Exactness:
    """Largest difference of the probabilities between the module and onnxruntime, and its bound."""

    images: int
    max_dp: float
    bound: float

    def as_dict(self) -> dict[str, Any]:
        """Returns the entries for the report and the spec."""
        return {**asdict(self), "max_dp": rounded_up(self.max_dp)}


def bound_of(target: Target, machine: str | None = None) -> float:
    """Returns the largest difference that is allowed between the module and onnxruntime.

    On x86, onnxruntime multiplies 8-bit integers from the first convolution to the last. The module computes the same
    integers, so that only the layers in float after them differ: the bound is that of FP32 against PyTorch. A model for
    TensorRT is computed in float between its roundings, where the order of a sum decides a value in the middle between
    two integers, and so may the kernels of other processors: two correct implementations differ as two devices do.
    """
    exact = target != "tensorrt" and (machine or platform.machine()) in _X86
    return GATES["fp32"].max_dp if exact else DEVICE_GATES["int8"].max_dp


def check_exactness(
    network: FakeQuantized, probabilities: NDArray[np.float32], compared: ComparisonSet, target: Target
) -> Exactness:
    """Compares the module with onnxruntime on up to 128 of the compared images, evenly spaced.

    Args:
        network: Module after the training.
        probabilities: Probabilities of onnxruntime for all compared images, from the module's graph: [images, classes].
        compared: Compared images.
        target: Target of the quantization.

    Raises:
        CheckFailed: If a probability differs by more than the bound, or is NaN.
    """
    count = min(_MOST, len(compared))
    rows = np.arange(count) * len(compared) // count
    largest = 0.0
    for start in range(0, count, BATCH):
        few = rows[start : start + BATCH]
        difference = np.abs(_probabilities(network, compared.pixels(few)) - probabilities[few])
        largest = float(np.maximum(largest, difference.max()))  # NaN stays
    bound = bound_of(target)
    if not largest <= bound:
        raise CheckFailed(
            f"expected onnxruntime to compute the fine-tuned INT8 model as its training did, with probabilities that "
            f"differ by at most {bound:g}, found {largest:.3g} on {count} images; export without --finetune, and "
            "report this with the output of `ctonnx doctor`: it is a fault of ctonnx, or of onnxruntime's kernels for "
            "this processor"
        )
    return Exactness(images=count, max_dp=largest, bound=bound)


def _probabilities(network: FakeQuantized, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    with torch.no_grad():
        (found,) = network.compute(torch.from_numpy(pixels), ["probabilities"])
    array: NDArray[np.float32] = found.numpy()
    return array
