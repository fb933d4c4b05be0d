"""What is fitted on the validation images after the training: the temperature, and where an image is suspicious."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax
from scipy.stats import beta, binomtest

from ctonnx.artifacts.operating_point import OperatingPoint, suspicion
from ctonnx.errors import DataError
from ctonnx_train.evaluation.metrics import LEVEL

__all__ = [
    "NEGATIVE_CLASSES",
    "fit_operating_point",
    "fit_temperature",
    "negative_log_likelihood",
    "operating_figures",
    "positive_classes",
    "suspicious_figures",
]

NEGATIVE_CLASSES = ("normal", "benign")
"""Canonical names of the classes that are not suspicious, unless the user says otherwise."""

_TEMPERATURES = (0.05, 20.0)


def negative_log_likelihood(
    logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], temperature: float
) -> float:
    """Returns the mean negative log-likelihood of the labels, in nats.

    Args:
        logits: [images, classes].
        labels: Class index of each image.
        temperature: what the logits are divided by.
    """
    chosen = log_softmax(logits.astype(np.float64) / temperature, axis=1)[np.arange(len(labels)), labels]
    return -float(chosen.mean())


def fit_temperature(logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float:
    """Returns the temperature at which the labels are most likely (Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    Args:
        logits: of the validation images, [images, classes].
        labels: Class index of each image.

    Returns:
        Between 0.05 and 20, to four decimals; 1 where the likelihood grows towards one of these bounds, which it does
        where every image is right: they are then too few to tell.
    """
    found = minimize_scalar(
        lambda exponent: negative_log_likelihood(logits, labels, float(np.exp(exponent))),
        bounds=np.log(_TEMPERATURES),
        method="bounded",
        options={"xatol": 1e-5},
    )
    least_at_bounds = min(negative_log_likelihood(logits, labels, bound) for bound in _TEMPERATURES)
    return round(float(np.exp(found.x)), 4) if found.fun < least_at_bounds else 1.0


def positive_classes(classes: Sequence[str], chosen: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the classes that are suspicious: those chosen, else all but `NEGATIVE_CLASSES`.

    Returns:
        In the order of `classes`; empty where nothing was chosen and no class, or every class, is a negative one.

    Raises:
        DataError: A chosen class does not exist, or all of them are chosen.
    """
    if unknown := set(chosen) - set(classes):
        raise DataError(f"expected --positive to name one of the classes {', '.join(classes)}, found '{min(unknown)}'")
    positive = tuple(name for name in classes if (name in chosen if chosen else name not in NEGATIVE_CLASSES))
    if chosen and len(positive) == len(classes):
        raise DataError("expected --positive to leave out one class at least, found all classes named")
    return positive if len(positive) < len(classes) else ()


def fit_operating_point(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: Sequence[str],
    positive: Sequence[str],
    *,
    sensitivity: float = 0.95,
    leaked: NDArray[np.bool_] | None = None,
) -> OperatingPoint | None:
    """Returns the threshold on the positive classes' summed probability that fits a target sensitivity.

    Of all thresholds whose sensitivity reaches the target, those with the best specificity; of these, those with the
    best sensitivity, which gives no finding away for nothing; of these, the middle, in logits, of the gap between the
    highest score that stays below and the lowest positive score that does not. Where the images suffice, it is the
    one-sided 95 % Clopper-Pearson bound of the sensitivity that has to reach the target, else the observed value:
    `ctonnx.artifacts.caveats` says which.

    The metrics of the point are measured on the images that it was fitted on; expect less on others.

    Args:
        probabilities: Validation images' probabilities, [images, classes], after the temperature.
        labels: Class index of each image.
        classes: Class names.
        positive: Names of the suspicious classes.
        sensitivity: Target, 0 to 1.
        leaked: True for images with a copy, or an image of their group, in the training set, [images]: they are left
            out, unless none of the positive or none of the negative images would be left. None leaves out none.

    Returns:
        None where there is no positive class, or the images lack positive or negative ones.

    Source: Clopper and Pearson 1934, https://doi.org/10.1093/biomet/26.4.404
    """
    is_positive = _is_positive(labels, classes, positive)
    if not is_positive.any() or is_positive.all():
        return None
    used = np.ones(len(labels), bool) if leaked is None else ~leaked
    has_both = is_positive[used].any() and not is_positive[used].all()
    if not has_both:
        used[:] = True
    probabilities, labels, is_positive = probabilities[used], labels[used], is_positive[used]
    scores = suspicion(probabilities, classes, positive)
    lowest = np.sort(scores[is_positive])[_most_missed(int(is_positive.sum()), sensitivity)]
    # Between the highest negative score below and `lowest` there may be more positives: all of them are kept.
    below = scores[~is_positive & (scores < lowest)].max(initial=-np.inf)
    above = scores[is_positive & (scores > below)].min()
    threshold = _middle(probabilities, scores, classes, positive, float(below), float(above))
    measured = operating_figures(probabilities, labels, classes, positive, threshold)
    found = int((scores[is_positive] >= threshold).sum())
    return OperatingPoint(
        positive=tuple(positive),
        threshold=threshold,
        sensitivity=measured["sensitivity"],
        specificity=measured["specificity"],
        target_sensitivity=sensitivity,
        sensitivity_interval=measured["sensitivity_interval"],
        specificity_interval=measured["specificity_interval"],
        sensitivity_bound=float(_lower_bounds(np.array([found]), len(scores[is_positive]))[0]),
        positive_images=int(is_positive.sum()),
        negative_images=int((~is_positive).sum()),
        leaked_images=0 if leaked is None else int(leaked.sum()),
        leaked_images_used=leaked is not None and bool(leaked.any()) and not has_both,
        gap=(max(float(below), 0.0), float(above)),
    )


def _most_missed(images: int, sensitivity: float) -> int:
    """Returns how many of the positive images a threshold may miss: by the bound where it can be reached."""
    found = np.arange(images, 0, -1)
    bounds = _lower_bounds(found, images)
    reached = bounds >= sensitivity if bounds[0] >= sensitivity else found / images >= sensitivity
    return int(np.flatnonzero(reached).max(initial=0))


def _lower_bounds(found: NDArray[np.int64], images: int) -> NDArray[np.float64]:
    """Returns the one-sided 95 % Clopper-Pearson bounds of the shares of images that were found, 0 to 1."""
    bounds: NDArray[np.float64] = np.where(
        found > 0, beta.ppf(1 - LEVEL, np.maximum(found, 1), images - found + 1), 0.0
    )
    return bounds


def _middle(
    probabilities: NDArray[np.floating[Any]],
    scores: NDArray[np.float64],
    classes: Sequence[str],
    positive: Sequence[str],
    below: float,
    above: float,
) -> float:
    """Returns the middle of two neighbouring scores in logits; half the upper one where no score lies below it.

    The logit is the log-ratio of the positive classes' sum and the others', which keeps its digits near 1, where the
    sum alone has none left. Where the middle cannot be told from one of the two as a float32 sum, it is theirs in
    probabilities.
    """
    if below < 0:
        return above / 2
    columns = [classes.index(name) for name in positive]
    chances = np.clip(probabilities.astype(np.float64), np.finfo(np.float64).tiny, None)
    logits = np.log(chances[:, columns].sum(axis=1)) - np.log(np.delete(chances, columns, axis=1).sum(axis=1))
    middle = float(expit((logits[scores == below].max() + logits[scores == above].min()) / 2))
    return middle if below < middle <= above else (below + above) / 2


def operating_figures(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: Sequence[str],
    positive: Sequence[str],
    threshold: float,
) -> dict[str, Any]:
    """Returns how a threshold does on labelled images, with 95 % Wilson score intervals; None where not defined.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953. (A bootstrap would give an interval of no
    width where every image was found.)

    Args:
        probabilities: [images, classes], after the temperature.
        labels: Class index of each image.
        classes: Class names.
        positive: Those that are suspicious.
        threshold: Smallest sum of their probabilities that is called suspicious.
    """
    is_positive = _is_positive(labels, classes, positive)
    called = suspicion(probabilities, classes, positive) >= threshold
    figures: dict[str, Any] = {}
    for name, right in (("sensitivity", called[is_positive]), ("specificity", ~called[~is_positive])):
        value = round(float(right.mean()), 6) if len(right) else None
        figures |= {name: value, f"{name}_interval": _interval(right), f"{name}_images": len(right)}
    return figures


def suspicious_figures(
    point: OperatingPoint | None,
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: Sequence[str],
) -> dict[str, Any] | None:
    """Returns how a model's operating point does on labelled images, JSON-ready; None where the model has none.

    Args:
        point: of the model.
        probabilities: [images, classes], after the temperature.
        labels: Class index of each image.
        classes: Class names.
    """
    if point is None:
        return None
    figures = operating_figures(probabilities, labels, classes, point.positive, point.threshold)
    return {
        "positive": list(point.positive),
        "threshold": point.threshold,
        "target_sensitivity": point.target_sensitivity,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in figures.items()},
    }


def _is_positive(
    labels: NDArray[np.integer[Any]], classes: Sequence[str], positive: Sequence[str]
) -> NDArray[np.bool_]:
    return np.isin(labels, [classes.index(name) for name in positive])


def _interval(right: NDArray[np.bool_]) -> tuple[float, float] | None:
    if not len(right):
        return None
    found = binomtest(int(right.sum()), len(right)).proportion_ci(LEVEL, method="wilson")
    return round(float(found.low), 6), round(float(found.high), 6)
