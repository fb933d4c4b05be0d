"""Activation ranges of all calibrators, from one pass over the calibration images.

Each of onnxruntime's calibrators runs the model itself and keeps all activations of all images in memory. Here the
model runs once, on small batches, and only two things are kept: the minimum and maximum of each image's activations,
and onnxruntime's histograms of a regular sample of them.
"""

import contextlib
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import HistogramCollector

from ctonnx_export.graph.sessions import open_model

__all__ = ["CALIBRATORS", "Calibrator", "Ranges", "collect_ranges"]

Calibrator: TypeAlias = Literal[
    "minmax", "moving-average", "percentile-99.9", "percentile-99.99", "percentile-99.999", "entropy"
]

CALIBRATORS: tuple[Calibrator, ...] = get_args(Calibrator)
"""Methods of choosing a range: minimum and maximum, mean of the images' ranges, percentiles of the values, and smallest
loss of information (KL divergence)."""

_BINS = 2048
_ENTROPY_BINS = 512
_ENTROPY_LEVELS = 128
_SAMPLED = 16_384  # activations of each tensor and image that are added to the histograms


class Ranges:
    """Minima, maxima and histograms of activation tensors."""

    def __init__(self, tensors: Sequence[str]) -> None:
        self.tensors = tuple(tensors)
        self._lowest: dict[str, list[float]] = {name: [] for name in tensors}
        self._highest: dict[str, list[float]] = {name: [] for name in tensors}
        self._least_lossy: dict[str, tuple[float, float]] = {}
        self._histograms = HistogramCollector(
            method="percentile",
            symmetric=False,
            num_bins=_BINS,
            num_quantized_bins=_ENTROPY_LEVELS,
            percentile=100.0,  # set when it is asked for
            scenario="same",
        )

    def add(self, name: str, values: NDArray[np.float32]) -> None:
        """Adds the values of a tensor for a batch of images, float32 [images, ...]."""
        self._least_lossy.clear()
        rows = values.reshape(len(values), -1)
        self._lowest[name] += rows.min(axis=1).tolist()
        self._highest[name] += rows.max(axis=1).tolist()
        stride = -(-rows.shape[1] // _SAMPLED) | 1  # odd: an even one could always hit the same columns of each map
        sample = np.ascontiguousarray(rows[:, ::stride])
        self._widen(name, float(np.abs(sample).max()))
        self._histograms.collect_value({name: sample})

    def _widen(self, name: str, largest: float) -> None:
        """Doubles the width of a histogram's bins until they cover the new values.

        The collector itself would add bins of the initial width, without a limit.
        """
        held = self._histograms.get_histogram_dict()
        if name not in held:
            return
        counts, edges, low, high, reach = held[name]
        if reach == 0 and largest > 0:  # only zeros so far, all in the middle bin
            counts, reach = np.zeros_like(counts), np.float32(largest)
            counts[_BINS // 2] = held[name][0].sum()
        while reach < largest:
            counts, reach = np.pad(counts.reshape(-1, 2).sum(axis=1), _BINS // 4), np.float32(2 * reach)
        edges = np.linspace(-reach, reach, _BINS + 1, dtype=np.float32)
        held[name] = (counts, edges, low, high, np.array(reach, np.float32))

    def of(self, calibrator: Calibrator) -> dict[str, tuple[float, float]]:
        """Returns the smallest and largest value to represent for each tensor."""
        if calibrator == "minmax":
            return {name: (min(self._lowest[name]), max(self._highest[name])) for name in self.tensors}
        if calibrator == "moving-average":
            return {
                name: (float(np.mean(self._lowest[name])), float(np.mean(self._highest[name]))) for name in self.tensors
            }
        if calibrator.startswith("percentile-"):
            self._histograms.percentile = float(calibrator.removeprefix("percentile-"))
            with contextlib.redirect_stdout(io.StringIO()):
                found = self._histograms.compute_percentile()
            return {name: (float(found[name][0]), float(found[name][1])) for name in self.tensors}
        if not self._least_lossy:  # slow to compute
            self._least_lossy.update((name, self._find_least_lossy(name)) for name in self.tensors)
        return dict(self._least_lossy)

    def _find_least_lossy(self, name: str) -> tuple[float, float]:
        """Returns the range whose quantized histogram has the least Kullback-Leibler divergence from the data."""
        counts, edges, *rest = self._histograms.get_histogram_dict()[name]
        coarse = counts.reshape(_ENTROPY_BINS, -1).sum(axis=1)
        histogram = (coarse, edges[:: _BINS // _ENTROPY_BINS], *rest)
        low, high = self._histograms.get_entropy_threshold(histogram, _ENTROPY_LEVELS)
        return float(low), float(high)


def collect_ranges(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    batches: Iterable[NDArray[np.uint8]],
    *,
    progress: Callable[[int], object] = lambda images: None,
) -> Ranges:
    """Runs a model on calibration images and collects the ranges of its float tensors.

    Each batch is uint8 [images, size, size, 3]; `progress` is called with its number of images.
    """
    augmented = onnx.ModelProto()
    augmented.CopyFrom(model)
    del augmented.graph.output[:]
    augmented.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    session = open_model(augmented)
    ranges = Ranges(tensors)
    for pixels in batches:
        for name, values in zip(tensors, session.run(list(tensors), {"pixels": pixels}), strict=True):
            ranges.add(name, values)
        progress(len(pixels))
    return ranges
