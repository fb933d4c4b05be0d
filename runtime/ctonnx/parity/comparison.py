"""Comparison of two models: differences of their outputs and of their accuracy for the same images."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.parity.intervals import NORMAL_QUANTILE, share_interval
from ctonnx.parity.outputs import OUTPUT_NAMES, Outputs
from ctonnx.parity.rounding import rounded_down, rounded_up

__all__ = [
    "MAX_DP",
    "AccuracyChange",
    "Parity",
    "accuracy_change",
    "compare",
    "compare_probabilities",
    "rank_correlation",
]

MAX_DP = "max |dp|: the largest absolute difference of any class's probability over the compared images"
"""Definition of max |dp|, printed next to its values."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Differences between the outputs of a candidate and its reference.

    Attributes:
        images: Number of compared images.
        agreement: Top-1 agreement, the share of images with the same predicted class, 0 to 1.
        max_dp: Largest absolute difference of any class's probability over the images.
        mean_dp: Mean absolute difference of the probabilities.
        max_dlogit: Largest absolute difference of a logit.
        max_dheatmap: Largest absolute difference of a heatmap value, relative to the reference's largest value.
        heatmap_correlation: Median over the images of Pearson's correlation of the heatmaps of the reference's class.
        lowest_heatmap_correlation: Minimum; images with a constant reference heatmap count in neither.
        novelty_correlation: Spearman's rank correlation of the novelty; None, like the next two, without this output.
        max_dnovelty: Largest absolute difference of an image's novelty, relative to the reference's value, at least 1.
        novelty_agreement: Share of images that both or neither flag as novel, 0 to 1; None without a threshold, too.
        decision_agreement: Share of images with the same decision, 0 to 1, of those that fitted no threshold: training
            images (they did fit the novelty's distance) and added ones; None if the decisions were not compared, as in
            `compare`.
        decision_images: Number of these images; None like their share, and in older files.
    """

    images: int
    agreement: float
    max_dp: float
    mean_dp: float
    max_dlogit: float
    max_dheatmap: float
    heatmap_correlation: float
    lowest_heatmap_correlation: float
    novelty_correlation: float | None = None
    max_dnovelty: float | None = None
    novelty_agreement: float | None = None
    decision_agreement: float | None = None
    decision_images: int | None = None

    @property
    def agreement_interval(self) -> tuple[float, float]:
        """95 % interval of the agreement."""
        return share_interval(self.agreement, self.images)

    def as_dict(self) -> dict[str, Any]:
        """Returns the differences with three significant digits, and shares with six decimals.

        Differences are rounded up and shares down, so that rounding cannot make a value keep a bound. Values of the
        novelty are left out if the models have no such output.
        """

        def rounded(name: str, value: float) -> float:
            if isinstance(value, int):
                return value
            return rounded_down(value) if name.endswith(("agreement", "correlation")) else rounded_up(value)

        return {name: rounded(name, value) for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class AccuracyChange:
    """Accuracy (0 to 1) of a reference and a candidate on the same labelled images.

    The difference is candidate minus reference, with the ends of its 95 % interval.
    """

    images: int
    reference: float
    candidate: float
    difference: float
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        """Returns the values, rounded down to a thousandth of a point, so that a loss is never made smaller."""
        values = asdict(self).items()
        return {name: value if isinstance(value, int) else rounded_down(value, 5) for name, value in values}


def compare(reference: Outputs, candidate: Outputs, *, threshold: float | None = None) -> Parity:
    """Compares the outputs of two models for the same images, in the same order.

    An image whose novelty exceeds the threshold is flagged.

    >>> import numpy as np
    >>> same = Outputs(np.float32([[0.9, 0.1]]), np.float32([[2.2, 0]]), np.zeros((1, 2, 7, 7), np.float32))
    >>> compare(same, same).max_dp
    0.0

    Raises:
        ValueError: If there are no images, or the shapes differ.
    """
    if len(reference) == 0:
        raise ValueError("parity needs at least one image, found none")
    for name in OUTPUT_NAMES:
        expected, found = getattr(reference, name).shape, getattr(candidate, name).shape
        if expected != found:
            raise ValueError(f"expected {name} of shape {list(expected)}, found {list(found)}")
    if (reference.novelty is None) != (candidate.novelty is None):
        raise ValueError("expected two models with the output novelty, or without it, found one with it")
    agreement, max_dp, mean_dp = compare_probabilities(reference.probabilities, candidate.probabilities)
    dheatmap = _difference(reference.heatmap, candidate.heatmap)
    correlations = _heatmap_correlations(reference, candidate)
    return Parity(
        images=len(reference),
        agreement=agreement,
        max_dp=max_dp,
        mean_dp=mean_dp,
        max_dlogit=float(_difference(reference.logits, candidate.logits).max()),
        max_dheatmap=float(dheatmap.max() / max(float(np.abs(reference.heatmap).max()), 1e-12)),
        heatmap_correlation=float(np.median(correlations)),
        lowest_heatmap_correlation=float(correlations.min()),
        **_compare_novelty(reference.novelty, candidate.novelty, threshold),
    )


def _compare_novelty(
    reference: NDArray[np.float32] | None, candidate: NDArray[np.float32] | None, threshold: float | None
) -> dict[str, Any]:
    """Returns the fields of `Parity` about the novelty."""
    if reference is None or candidate is None:
        return {}
    difference = _difference(reference, candidate) / np.maximum(np.abs(reference.astype(np.float64)), 1.0)
    found = {
        "novelty_correlation": rank_correlation(reference, candidate),
        "max_dnovelty": float(difference.max()),
    }
    if threshold is not None:
        flagged = [~(values <= np.float32(threshold)) for values in (reference, candidate)]
        found["novelty_agreement"] = float((flagged[0] == flagged[1]).mean())
    return found


def rank_correlation(first: NDArray[np.floating[Any]], second: NDArray[np.floating[Any]]) -> float:
    """Returns Spearman's rank correlation of two arrays [images]; equal values share the mean of their ranks.

    It is NaN if a value is; 1 if both arrays are constant, and 0 if only one is.

    Source: Spearman 1904, https://doi.org/10.2307/1412159

    >>> rank_correlation(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 9.0]))
    0.8
    """
    if np.isnan(first).any() or np.isnan(second).any():
        return math.nan
    ranks = [_ranks(values) for values in (first, second)]
    one, other = (values - values.mean() for values in ranks)
    if not (one.any() and other.any()):
        return float(one.any() == other.any())
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))


def _ranks(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_ranks: NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return mean_ranks[place]


def compare_probabilities(
    reference: NDArray[np.floating[Any]], candidate: NDArray[np.floating[Any]]
) -> tuple[float, float, float]:
    """Returns `agreement`, `max_dp` and `mean_dp` of `Parity` for probabilities [images, classes]."""
    dp = _difference(reference, candidate)
    same_class = reference.argmax(axis=1) == candidate.argmax(axis=1)
    return float(same_class.mean()), float(dp.max()), float(dp.mean())


def accuracy_change(
    reference: Outputs, candidate: Outputs, labels: NDArray[np.integer[Any]], *, effective_images: float | None = None
) -> AccuracyChange | None:
    """Compares the accuracy of two models on the same images.

    The interval for paired proportions (Agresti and Min 2005, https://doi.org/10.1002/sim.1781) is much narrower than
    that of either accuracy, as most images are right or wrong for both models. It adds half an image to each of the
    four cells, so that its width is not 0 if the models never differ.

    `labels` are the class indices; images with -1, an unknown class, do not count. Returns None if all are unknown.
    Where images of a group are alike, `effective_images` is their effective number, as in `share_interval`: the
    interval is that of as many independent images.
    """
    known = labels >= 0
    if not known.any():
        return None
    right = [outputs.probabilities.argmax(axis=1)[known] == labels[known] for outputs in (reference, candidate)]
    images = int(known.sum())
    gained, lost = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
    independent = images if effective_images is None else effective_images
    total, share = independent + 2, independent / images
    middle = share * (gained - lost) / total
    spread = NORMAL_QUANTILE * np.sqrt(((share * (gained + lost) + 1) / total - middle**2) / total)
    return AccuracyChange(
        images=images,
        reference=float(right[0].mean()),
        candidate=float(right[1].mean()),
        difference=(gained - lost) / images,
        low=float(middle - spread),
        high=float(middle + spread),
    )


def _heatmap_correlations(reference: Outputs, candidate: Outputs) -> NDArray[np.float64]:
    """Returns the correlation of each image whose reference heatmap is not constant, or a single 1 if all are."""
    rows = np.arange(len(reference))
    top = reference.probabilities.argmax(axis=1)
    maps = [outputs.heatmap[rows, top].reshape(len(rows), -1).astype(np.float64) for outputs in (reference, candidate)]
    first, second = (values - values.mean(axis=1, keepdims=True) for values in maps)
    varies = np.ptp(maps[0], axis=1) > 0
    if not varies.any():
        return np.ones(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (first * second).sum(axis=1) / np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    flat = np.ptp(maps[1], axis=1) == 0
    correlations: NDArray[np.float64] = np.where(flat, 0.0, found)[varies]
    return correlations


def _difference(reference: Any, candidate: Any) -> Any:
    return np.abs(reference.astype(np.float64) - candidate.astype(np.float64))
