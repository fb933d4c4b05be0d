"""Chooses the threshold of "suspicious" on the validation images, and measures it on others."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import beta

from ctonnx.artifacts.decision.operating_point import OperatingPoint, suspicion
from ctonnx.errors import DataError
from ctonnx_train.evaluation.statistics.metrics import LEVEL
from ctonnx_train.evaluation.statistics.shares import effective_number, share_of

__all__ = [
    "NEGATIVE_CLASSES",
    "SENSITIVITY",
    "fit_operating_point",
    "operating_metrics",
    "positive_classes",
    "suspicious_metrics",
    "without_leaks",
]

NEGATIVE_CLASSES = ("normal", "benign")

SENSITIVITY = 0.95
"""Default target sensitivity."""


def positive_classes(classes: Sequence[str], chosen: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the suspicious classes: the chosen ones, or by default all but `NEGATIVE_CLASSES`.

    They are in the order of `classes`; there are none if none was chosen and no class or every class is negative.

    Raises:
        DataError: If a chosen class does not exist, or all classes are chosen.
    """
    if unknown := set(chosen) - set(classes):
        raise DataError(f"expected --positive to name one of the classes {', '.join(classes)}, found '{min(unknown)}'")
    positive = tuple(name for name in classes if (name in chosen if chosen else name not in NEGATIVE_CLASSES))
    if chosen and len(positive) == len(classes):
        raise DataError("expected --positive to leave out one class at least, found all classes named")
    return positive if len(positive) < len(classes) else ()


def without_leaks(kinds: NDArray[Any], leaked: NDArray[np.bool_] | None, *, least: int = 1) -> NDArray[np.bool_]:
    """Returns the images to fit a value on: those that did not leak if there are enough of two kinds, else all.

    Args:
        kinds: Kind of each image, such as whether it is suspicious, [images].
        leaked: Images with a copy, or an image of their group, in the training set, bool [images]; None if none has.
        least: Minimum number of images of a kind.
    """
    if leaked is None or (np.unique(kinds[~leaked], return_counts=True)[1] >= least).sum() < 2:
        return np.ones(len(kinds), bool)
    return ~leaked


def fit_operating_point(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: Sequence[str],
    positive: Sequence[str],
    *,
    sensitivity: float = SENSITIVITY,
    leaked: NDArray[np.bool_] | None = None,
    groups: Sequence[int] | NDArray[np.integer[Any]] | None = None,
) -> OperatingPoint | None:
    """Returns the operating point: the threshold on the score that reaches a target sensitivity.

    The score is the summed probability of the suspicious classes. Among the thresholds whose sensitivity reaches the
    target, those with the best specificity are kept, and among these, those with the best sensitivity. The result is
    the middle, in logits, of the remaining gap: between the highest score below the threshold and the lowest positive
    score above. If there are enough images, the one-sided 95 % Clopper-Pearson bound of the sensitivity must reach the
    target, otherwise the observed sensitivity; `ctonnx.artifacts.caveats` reports which of the two.

    The sensitivity and specificity of the point are measured on the images that it was fitted on; they are lower on
    others.

    The probabilities, [images, classes], are those of the validation images after the temperature. Images that are True
    in `leaked`, [images], have a copy, or an image of their group, in the training set; they are left out unless no
    positive or no negative image would remain. With `groups`, [images], such as patients, the bound and the intervals
    are those of the effective number of images; see `ctonnx_train.evaluation.statistics.shares.effective_number`.

    Returns:
        The operating point, or None if there is no suspicious class, no positive or no negative image.

    Source: Clopper and Pearson 1934, https://doi.org/10.1093/biomet/26.4.404; Korn and Graubard 1998,
    https://www150.statcan.gc.ca/n1/en/catalogue/12-001-X19980024356 (effective number)
    """
    columns = [classes.index(name) for name in positive]
    is_positive = np.isin(labels, columns)
    if not is_positive.any() or is_positive.all():
        return None
    used = without_leaks(is_positive, leaked)
    leaks_used = leaked is not None and bool((used & leaked).any())
    probabilities, labels, is_positive = probabilities[used], labels[used], is_positive[used]
    units = None if groups is None else np.asarray(groups)[used]
    effective = float(is_positive.sum()) if units is None else effective_number(units[is_positive])
    scores = suspicion(probabilities, classes, positive)
    lowest = np.sort(scores[is_positive])[_most_missed(int(is_positive.sum()), effective, sensitivity)]
    # More positive scores may lie between the highest negative score below and `lowest`: all of them are kept.
    below = scores[~is_positive & (scores < lowest)].max(initial=-np.inf)
    above = scores[is_positive & (scores > below)].min()
    threshold = _middle(probabilities, scores, columns, float(below), float(above))
    measured = operating_metrics(probabilities, labels, classes, positive, threshold, units)
    found = (scores[is_positive] >= threshold).sum(keepdims=True)
    return OperatingPoint(
        positive=tuple(positive),
        threshold=threshold,
        sensitivity=measured["sensitivity"],
        specificity=measured["specificity"],
        target_sensitivity=sensitivity,
        sensitivity_interval=measured["sensitivity_interval"],
        specificity_interval=measured["specificity_interval"],
        sensitivity_bound=float(_lower_bounds(found, len(scores[is_positive]), effective)[0]),
        positive_images=int(is_positive.sum()),
        negative_images=int((~is_positive).sum()),
        leaked_images=0 if leaked is None else int(leaked.sum()),
        leaked_images_used=leaks_used,
        positive_patients=None if units is None else len(np.unique(units[is_positive])),
        negative_patients=None if units is None else len(np.unique(units[~is_positive])),
        gap=(max(float(below), 0.0), float(above)),
    )


def _most_missed(images: int, effective: float, sensitivity: float) -> int:
    """Returns the number of positive images that a threshold may miss: by the bound if it can reach the target."""
    found = np.arange(images, 0, -1)
    bounds = _lower_bounds(found, images, effective)
    reached = bounds >= sensitivity if bounds[0] >= sensitivity else found / images >= sensitivity
    return int(np.flatnonzero(reached).max(initial=0))


def _lower_bounds(found: NDArray[np.integer[Any]], images: int, effective: float) -> NDArray[np.float64]:
    """Returns the one-sided 95 % Clopper-Pearson bounds of the shares of found images, 0 to 1.

    They are those of the same shares of an `effective` number of images.
    """
    successes = found * (effective / images)
    bounds: NDArray[np.float64] = np.where(
        found > 0, beta.ppf(1 - LEVEL, np.maximum(successes, np.finfo(float).tiny), effective - successes + 1), 0.0
    )
    return bounds


def _middle(
    values: NDArray[np.floating[Any]], scores: NDArray[np.float64], positive: list[int], below: float, above: float
) -> float:
    """Returns the middle of two neighbouring scores in logits, or half the upper score if there is none below it.

    The logit is the log-ratio of the summed probabilities of the positive and the other classes. Near 1 it keeps the
    precision that the sum itself loses. If the middle equals one of the two scores after rounding, the middle of the
    probabilities is taken.
    """
    if below < 0:
        return above / 2
    chances = np.clip(values.astype(np.float64), np.finfo(np.float64).tiny, None)
    logits = np.log(chances[:, positive].sum(axis=1)) - np.log(np.delete(chances, positive, axis=1).sum(axis=1))
    middle = float(expit((logits[scores == below].max() + logits[scores == above].min()) / 2))
    return middle if below < middle <= above else (below + above) / 2


def operating_metrics(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: Sequence[str],
    positive: Sequence[str],
    threshold: float,
    groups: Sequence[int] | NDArray[np.integer[Any]] | None = None,
) -> dict[str, Any]:
    """Returns sensitivity and specificity of a threshold with 95 % Wilson score intervals; None if undefined.

    The probabilities, [images, classes], are those after the temperature. With `groups`, [images], such as patients,
    the intervals are those of the effective number of images. (The bootstrap interval of a sensitivity of 1 has no
    width.)
    """
    units = None if groups is None else np.asarray(groups)
    is_positive = np.isin(labels, [classes.index(name) for name in positive])
    called = suspicion(probabilities, classes, positive) >= threshold
    metrics: dict[str, Any] = {}
    for name, right, of in (("sensitivity", called, is_positive), ("specificity", ~called, ~is_positive)):
        found = share_of(right[of], None if units is None else units[of])
        interval = tuple(found["interval"]) if found["interval"] else None
        metrics |= {name: found["value"], f"{name}_interval": interval, f"{name}_images": found["images"]}
    return metrics


def suspicious_metrics(
    point: OperatingPoint | None,
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: Sequence[str],
    groups: Sequence[int] | NDArray[np.integer[Any]] | None = None,
) -> dict[str, Any] | None:
    """Returns the `operating_metrics` of a model's point as a JSON-ready dictionary, or None if it has no point."""
    if point is None:
        return None
    metrics = operating_metrics(probabilities, labels, classes, point.positive, point.threshold, groups)
    return {
        "positive": list(point.positive),
        "threshold": point.threshold,
        "target_sensitivity": point.target_sensitivity,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in metrics.items()},
    }
