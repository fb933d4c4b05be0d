"""What is fitted on the validation images after the training: the temperature, and where an image is suspicious."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import binomtest

from ctonnx.errors import DataError
from ctonnx.spec import OperatingPoint, suspicion
from ctonnx_train.metrics import LEVEL

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
        labels: class index of each image.
        temperature: what the logits are divided by.
    """
    chosen = log_softmax(logits.astype(np.float64) / temperature, axis=1)[np.arange(len(labels)), labels]
    return -float(chosen.mean())


def fit_temperature(logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float:
    """Returns the temperature at which the labels are most likely (Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    Args:
        logits: of the validation images, [images, classes].
        labels: class index of each image.

    Returns:
        between 0.05 and 20, to four decimals; 1 where the likelihood grows towards one of these bounds, which it does
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
        DataError: a chosen class does not exist, or all of them are chosen.
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
) -> OperatingPoint | None:
    """Returns the highest threshold on the positive classes' summed probability that reaches a sensitivity.

    The threshold stands in the middle between two images' sums, so that rounding on another device moves no image
    across. Its figures are measured on the images that it was fitted on: on others they will be somewhat lower.

    Args:
        probabilities: of the validation images, [images, classes], after the temperature.
        labels: class index of each image.
        classes: class names.
        positive: those that are suspicious.
        sensitivity: to reach at least.

    Returns:
        None where there is no positive class, or the images lack positive or negative ones.
    """
    is_positive = _is_positive(labels, classes, positive)
    if not is_positive.any() or is_positive.all():
        return None
    scores = suspicion(probabilities, classes, positive)
    found = np.sort(scores[is_positive])
    missed = int(np.floor((1 - sensitivity) * len(found) + 1e-9))
    lowest = found[missed]
    below = scores[scores < lowest].max(initial=0.0)
    threshold = float((lowest + below) / 2)
    figures = operating_figures(probabilities, labels, classes, positive, threshold)
    return OperatingPoint(
        positive=tuple(positive),
        threshold=threshold,
        sensitivity=figures["sensitivity"],
        specificity=figures["specificity"],
        target_sensitivity=sensitivity,
        sensitivity_interval=figures["sensitivity_interval"],
        specificity_interval=figures["specificity_interval"],
    )


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
        labels: class index of each image.
        classes: class names.
        positive: those that are suspicious.
        threshold: smallest sum of their probabilities that is called suspicious.
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
        labels: class index of each image.
        classes: class names.
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
