"""The figures of a classifier on labelled images, and their bootstrap intervals, for all resamples at once.

A resample is told by how often each image stands in it, so that every figure is computed from weights: weights of one
are the images themselves. Tests hold each figure against scikit-learn's.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.system.text import counted

__all__ = ["ECE_BINS", "LEVEL", "REPLICATES", "confusion_matrix", "evaluate", "figures", "format_metrics"]

ECE_BINS = 15
"""Bins of the calibration error and the reliability diagram, of equal width from 0 to 1."""

REPLICATES = 2000
"""Resamples of the bootstrap."""

LEVEL = 0.95
"""Of the intervals."""

_CLASS_FIGURES = ("precision", "sensitivity", "specificity", "f1", "auroc")
_FIGURES = ("accuracy", "balanced_accuracy", "ece")
_CELLS = 2_000_000  # weights in memory at a time


def figures(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    weights: NDArray[np.floating[Any]] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Returns the figures of each resample; one that is not defined is NaN.

    Precision is not defined where a class was never predicted; sensitivity (recall), F1 and AUROC where no image of
    the class is there; specificity and AUROC where no other is. The macro figures are means over the classes where they
    are defined, but the precision of a class that has images and was never predicted counts as 0 there, as its
    sensitivity and F1 do. AUROC is one class against the rest (Hanley and McNeil 1982,
    https://doi.org/10.1148/radiology.143.1.7063747); ECE is the expected calibration error (Guo et al. 2017,
    https://arxiv.org/abs/1706.04599).

    Args:
        probabilities: [images, classes].
        labels: Class index of each image, [images].
        weights: how often each image counts, [resamples, images]; None is one resample in which each counts once.

    Returns:
        `accuracy`, `balanced_accuracy`, `ece` and the macro figures as `macro_f1` and so on, each [resamples];
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
        macro = {f"macro_{name}": _mean(missed if name == "precision" else values[name]) for name in _CLASS_FIGURES}
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
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns the figures with 95 % bootstrap intervals as a JSON-ready dictionary; what is not defined is None.

    The intervals are percentiles over resamples of the images with replacement (Efron and Tibshirani 1993), or of the
    groups, whose images come and go together. A resample in which a figure is not defined does not count for it.

    Args:
        probabilities: [images, classes].
        labels: Class index of each image.
        classes: Class names, in the order of the second axis.
        groups: The number of each image's group, such as its patient; None takes each image by itself.
        replicates: how many resamples.
        seed: of the resamples.

    Returns:
        `images`, `accuracy`, `balanced_accuracy`, `ece`, `macro` and `per_class` (with precision, sensitivity, which is
        recall, specificity, f1, auroc; images), `confusion_matrix` (a row for each true class), `intervals` (the same
        tree with [low, high]) and `bootstrap` (how they were made).
    """
    truth = np.asarray(labels)
    names = [*_FIGURES, *(f"macro_{name}" for name in _CLASS_FIGURES), *_CLASS_FIGURES]
    point = figures(probabilities, truth)
    units = np.unique(np.arange(len(truth)) if groups is None else np.asarray(groups), return_inverse=True)[1]
    counts = np.random.default_rng(seed)
    number = int(units.max()) + 1
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    replicates = replicates if number > 1 else 0  # one group cannot tell how groups differ
    left = replicates
    while left > 0:
        size = min(left, max(1, _CELLS // len(truth)))
        resampled = counts.multinomial(number, np.full(number, 1 / number), size=size)[:, units]
        resampled = resampled[resampled.sum(axis=1) > 0]
        for name, values in figures(probabilities, truth, resampled).items():
            drawn[name].append(values)
        left -= size
    tails = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    intervals = (
        {name: _quantiles(np.concatenate(values), tails) for name, values in drawn.items()} if replicates else {}
    )
    matrix = confusion_matrix(probabilities, truth)
    low_high = {
        name: np.where(np.isnan(point[name][0]), np.nan, bounds) for name, bounds in intervals.items()
    }  # [2] or [2, classes]
    metrics = {"images": len(truth), **_tree({name: point[name][0] for name in names}, classes)}
    for index, name in enumerate(classes):
        metrics["per_class"][name]["images"] = int(matrix[index].sum())
    metrics["confusion_matrix"] = matrix.tolist()
    if replicates:
        low, high = (_tree({name: bounds[side] for name, bounds in low_high.items()}, classes) for side in (0, 1))
        metrics["intervals"] = _pairs(low, high)
        unit = "image" if groups is None else "group"
        metrics["bootstrap"] = {"level": LEVEL, "replicates": replicates, "seed": seed, "unit": unit, "units": number}
    return metrics


def confusion_matrix(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Returns how many images of each class (row) were called each class (column)."""
    classes = probabilities.shape[1]
    cells = labels * classes + probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def format_metrics(title: str, metrics: dict[str, Any]) -> str:
    """Returns the figures as a table for a terminal."""
    width = max(len("macro mean"), *(len(name) for name in metrics["per_class"]))
    whole = ", ".join(
        f"{label} {_with_interval(metrics[name], metrics.get('intervals', {}).get(name))}"
        for name, label in (("accuracy", "accuracy"), ("balanced_accuracy", "balanced"), ("ece", "ECE"))
    )
    lines = [
        f"{title}: {whole} on {counted(metrics['images'], 'image')}",
        f"{'class':{width}}  images  " + "  ".join(f"{name:>11}" for name in _CLASS_FIGURES),
    ]
    rows = [*metrics["per_class"].items(), ("macro mean", {**metrics["macro"], "images": metrics["images"]})]
    for name, values in rows:
        shown = ("-" if values[figure] is None else f"{values[figure]:.3f}" for figure in _CLASS_FIGURES)
        lines.append(f"{name:{width}}  {values['images']:6}  " + "  ".join(f"{value:>11}" for value in shown))
    return "\n".join(lines)


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _auroc(
    scores: NDArray[np.floating[Any]], positive: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the area of each resample, [resamples]: the share of pairs in the right order, ties half."""
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
    """Returns, times the images, the mean distance of confidence and accuracy over the bins, [resamples]."""
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = (correct - confidence)[:, None] * (bins[:, None] == np.arange(ECE_BINS))
    total: NDArray[np.float64] = np.abs(weights @ gaps).sum(axis=1)
    return total


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the mean over the classes where the figure is defined, [resamples]."""
    defined = ~np.isnan(values)
    mean: NDArray[np.float64] = np.where(defined, values, 0.0).sum(axis=1) / defined.sum(axis=1)
    return mean


def _quantiles(values: NDArray[np.float64], tails: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the quantiles of a figure over the resamples where it is defined, [2] or [2, classes]."""
    columns = values.reshape(len(values), -1)
    found = [
        np.quantile(column[~np.isnan(column)], tails) if (~np.isnan(column)).any() else [np.nan] * 2
        for column in columns.T
    ]
    return np.asarray(found).T.reshape(2, *values.shape[1:])


def _tree(values: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Returns figures as they stand in run.json."""
    return {
        **{name: _figure(values[name]) for name in _FIGURES},
        "macro": {name: _figure(values[f"macro_{name}"]) for name in _CLASS_FIGURES},
        "per_class": {
            name: {figure: _figure(values[figure][index]) for figure in _CLASS_FIGURES}
            for index, name in enumerate(classes)
        },
    }


def _pairs(low: Any, high: Any) -> Any:
    """Returns the two trees as one of [low, high]."""
    if isinstance(low, dict):
        return {name: _pairs(low[name], high[name]) for name in low}
    return None if low is None else [low, high]


def _figure(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
