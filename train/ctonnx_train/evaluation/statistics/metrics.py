"""Metrics of a classifier on labelled images, with bootstrap intervals, vectorized over the resamples.

A resample is represented by the number of times that it contains each image, and metrics are computed from these
weights. Weights of one give the metrics of the images themselves. Tests compare each metric with scikit-learn's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.system.text import aligned, counted

__all__ = ["ECE_BINS", "LEVEL", "REPLICATES", "as_table", "as_text", "compute_metrics", "confusion_matrix", "evaluate"]

ECE_BINS = 15
"""Number of bins of the calibration error and the reliability diagram, of equal width from 0 to 1."""

REPLICATES = 2000
"""Default number of bootstrap resamples."""

LEVEL = 0.95
"""Confidence level of the intervals."""

_CLASS_METRICS = ("precision", "sensitivity", "specificity", "f1", "auroc")
_METRICS = ("accuracy", "balanced_accuracy", "ece")
_CELLS = 2_000_000  # weights that are in memory at once


def compute_metrics(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    weights: NDArray[np.floating[Any]] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Returns the metrics of each resample; undefined metrics are NaN.

    Precision is undefined if the class was never predicted, sensitivity (recall), F1 and AUROC if the class has no
    image, specificity and AUROC if no other class has one. Macro metrics are means over the classes with a defined
    value, but the precision of a class that has images and was never predicted counts as 0, like its sensitivity and
    F1. AUROC is one class against the rest (Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747);
    ECE is the expected calibration error (Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    Args:
        probabilities: Predicted probabilities, [images, classes].
        labels: Class index of each image, [images].
        weights: Number of times each image counts, [resamples, images]; None is one resample with each image once.

    Returns:
        `accuracy`, `balanced_accuracy`, `ece` and the macro metrics (`macro_f1` and so on), each [resamples];
        `precision`, `sensitivity`, `specificity`, `f1`, `auroc`, each [resamples, classes].
    """
    weights = np.ones((1, len(labels))) if weights is None else weights.astype(np.float64)
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    is_label = labels[:, None] == np.arange(classes)
    is_predicted = predicted[:, None] == np.arange(classes)
    images = weights.sum(axis=1)
    of_class = weights @ is_label
    called = weights @ is_predicted
    hits = weights @ (is_label & is_predicted)
    with np.errstate(divide="ignore", invalid="ignore"):
        sensitivity = hits / of_class
        precision = hits / called
        others = images[:, None] - of_class
        values = {
            "precision": precision,
            "sensitivity": sensitivity,
            "specificity": 1 - (called - hits) / others,
            "f1": np.where(of_class > 0, 2 * hits / (of_class + called), np.nan),
            "auroc": np.stack(
                [_auroc(probabilities[:, index], is_label[:, index], weights) for index in range(classes)], axis=1
            ),
        }
        missed = np.where((called == 0) & (of_class > 0), 0.0, precision)
        macro = {f"macro_{name}": _mean(missed if name == "precision" else values[name]) for name in _CLASS_METRICS}
        confidence = probabilities.max(axis=1)
        return {
            "accuracy": hits.sum(axis=1) / images,
            "balanced_accuracy": _mean(sensitivity),
            "ece": _ece(confidence, predicted == labels, weights) / images,
            **macro,
            **values,
        }


def evaluate(
    probabilities: NDArray[np.floating[Any]],
    labels: Sequence[int],
    classes: Sequence[str],
    *,
    groups: Sequence[int] | None = None,
    unit: str = "group",
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns the metrics with 95 % bootstrap intervals as a JSON-ready dictionary; undefined metrics are None.

    The intervals are percentiles over resamples with replacement of the images (Efron and Tibshirani 1993), or of
    whole groups of images. Resamples in which a metric is undefined do not count for its interval.

    The probabilities are [images, classes]. `groups` has the number of each image's group, such as its patient; None
    resamples single images. `unit` is the name of a group, for a report.

    Returns:
        `images`, `accuracy`, `balanced_accuracy`, `ece`, `macro` and `per_class` (precision, sensitivity (recall),
        specificity, f1, auroc; images), `confusion_matrix` (a row per true class), `intervals` (the same structure
        with [low, high]) and `bootstrap` (settings of the resampling).
    """
    truth = np.asarray(labels)
    point = {name: values[0] for name, values in compute_metrics(probabilities, truth).items()}
    units = np.unique(np.arange(len(truth)) if groups is None else np.asarray(groups), return_inverse=True)[1]
    counts = np.random.default_rng(seed)
    number = int(units.max()) + 1
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in point}
    replicates = replicates if number > 1 else 0  # a single group does not show how groups differ
    left = replicates
    while left > 0:
        size = min(left, max(1, _CELLS // len(truth)))
        resampled = counts.multinomial(number, np.full(number, 1 / number), size=size)[:, units]
        resampled = resampled[resampled.sum(axis=1) > 0]
        for name, values in compute_metrics(probabilities, truth, resampled).items():
            drawn[name].append(values)
        left -= size
    matrix = confusion_matrix(probabilities, truth)
    metrics = {"images": len(truth), **_tree(point, classes)}
    for index, name in enumerate(classes):
        metrics["per_class"][name]["images"] = int(matrix[index].sum())
    metrics["confusion_matrix"] = matrix.tolist()
    if replicates:
        bounds = {name: _bounds(point[name], np.concatenate(values)) for name, values in drawn.items()}
        metrics["intervals"] = _tree(bounds, classes)
        unit = "image" if groups is None else unit
        metrics["bootstrap"] = {"level": LEVEL, "replicates": replicates, "seed": seed, "unit": unit, "units": number}
    return metrics


def confusion_matrix(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Returns the number of images of each true class (row) and predicted class (column)."""
    classes = probabilities.shape[1]
    cells = labels * classes + probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def as_table(title: str, metrics: Mapping[str, Any], unit: str = "image") -> str:
    """Returns the metrics as a table for a terminal; `unit` is `patient` for metrics of patients."""
    numbers = f"{unit}s"
    whole = ", ".join(
        f"{label} {as_text(metrics[name], metrics.get('intervals', {}).get(name))}"
        for name, label in (("accuracy", "accuracy"), ("balanced_accuracy", "balanced"), ("ece", "ECE"))
    )
    rows = [["class", numbers, *(f"{name:>11}" for name in _CLASS_METRICS)]]
    mean = {**metrics["macro"], numbers: metrics[numbers]}
    for name, values in [*metrics["per_class"].items(), ("macro mean", mean)]:
        shown = ("-" if values[metric] is None else f"{values[metric]:.3f}" for metric in _CLASS_METRICS)
        rows.append([name, str(values[numbers]), *shown])
    return "\n".join([f"{title}: {whole} on {counted(metrics[numbers], unit)}", *aligned(rows)])


def as_text(value: float | None, interval: Sequence[float] | None) -> str:
    """Returns a metric as text such as `0.900 [0.850, 0.950]`; an undefined one is `-`."""
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _auroc(
    scores: NDArray[np.floating[Any]], positive: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the area of each resample, [resamples]: the share of correctly ordered pairs; ties count half."""
    order = scores.argsort(kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    positives = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    negatives = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    pairs: NDArray[np.float64] = (positives * (below + negatives / 2)).sum(axis=1)
    area: NDArray[np.float64] = pairs / (positives.sum(axis=1) * negatives.sum(axis=1))
    return area


def _ece(
    confidence: NDArray[np.floating[Any]], correct: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the mean gap between confidence and accuracy over the bins, times the images, [resamples]."""
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = (correct - confidence)[:, None] * (bins[:, None] == np.arange(ECE_BINS))
    total: NDArray[np.float64] = np.abs(weights @ gaps).sum(axis=1)
    return total


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the mean over the classes with a defined value, [resamples]."""
    defined = ~np.isnan(values)
    mean: NDArray[np.float64] = np.where(defined, values, 0.0).sum(axis=1) / defined.sum(axis=1)
    return mean


def _bounds(point: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the interval over the resamples with a defined value, [2] or [classes, 2]; NaN if the point is NaN."""
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    found = [
        np.quantile(column[~np.isnan(column)], tails) if (~np.isnan(column)).any() else np.full(2, np.nan)
        for column in values.reshape(len(values), -1).T
    ]
    return np.where(np.isnan(point)[..., None], np.nan, np.array(found).reshape(*values.shape[1:], 2))


def _tree(values: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Returns the metrics in the structure of run.json."""
    return {
        **{name: _rounded(values[name]) for name in _METRICS},
        "macro": {name: _rounded(values[f"macro_{name}"]) for name in _CLASS_METRICS},
        "per_class": {
            name: {metric: _rounded(values[metric][index]) for metric in _CLASS_METRICS}
            for index, name in enumerate(classes)
        },
    }


def _rounded(value: NDArray[np.float64]) -> float | list[float] | None:
    """Returns a value, or the two of an interval, to six decimals; None if undefined."""
    if np.isnan(value).any():
        return None
    return [round(bound, 6) for bound in value.tolist()] if value.ndim else round(float(value), 6)
