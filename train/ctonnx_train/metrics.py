"""The figures of a classifier on labelled images, by scikit-learn's definitions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
)

__all__ = ["evaluate", "format_metrics"]


def evaluate(probabilities: NDArray[np.floating[Any]], labels: Sequence[int], classes: Sequence[str]) -> dict[str, Any]:
    """Returns the figures as a JSON-ready dictionary.

    A figure that is not defined is None: precision where a class was never predicted, sensitivity and AUROC where no
    image of a class is there. The macro figures are means over the classes where they are defined, but the precision
    of a class that has images and was never predicted counts as 0 there, as its sensitivity and F1 do.

    Args:
        probabilities: [images, classes].
        labels: class index of each image.
        classes: class names, in the order of the second axis.

    Returns:
        `images`, `accuracy`, `macro` and `per_class` (with precision, sensitivity, which is recall, specificity, f1,
        auroc, images) and `confusion_matrix` (a row for each true class).
    """
    truth = np.asarray(labels)
    indices = list(range(len(classes)))
    predicted = probabilities.argmax(axis=1)
    matrix = confusion_matrix(truth, predicted, labels=indices)
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=indices, zero_division=np.nan
    )
    per_class: dict[str, dict[str, Any]] = {}
    for index, name in enumerate(classes):
        negatives = len(truth) - int(support[index])
        false_positives = int(matrix[:, index].sum() - matrix[index, index])
        both = 0 < support[index] < len(truth)
        per_class[name] = {
            "images": int(support[index]),
            "precision": _figure(precision[index]),
            "sensitivity": _figure(recall[index]),
            "specificity": _figure(1 - false_positives / negatives) if negatives else None,
            "f1": _figure(f1[index]),
            "auroc": _figure(roc_auc_score(truth == index, probabilities[:, index])) if both else None,
        }
    names = ("precision", "sensitivity", "specificity", "f1", "auroc")
    return {
        "images": len(truth),
        "accuracy": _figure(accuracy_score(truth, predicted)),
        "macro": {name: _macro(name, list(per_class.values())) for name in names},
        "per_class": per_class,
        "confusion_matrix": matrix.tolist(),
    }


def format_metrics(title: str, metrics: dict[str, Any]) -> str:
    """Returns the figures as a table for a terminal."""
    names = ("precision", "sensitivity", "specificity", "f1", "auroc")
    width = max(len("macro mean"), *(len(name) for name in metrics["per_class"]))
    lines = [
        f"{title}: accuracy {metrics['accuracy']:.3f} on {metrics['images']} images",
        f"{'class':{width}}  images  " + "  ".join(f"{name:>11}" for name in names),
    ]
    rows = [*metrics["per_class"].items(), ("macro mean", {**metrics["macro"], "images": metrics["images"]})]
    for name, figures in rows:
        values = ("-" if figures[figure] is None else f"{figures[figure]:.3f}" for figure in names)
        lines.append(f"{name:{width}}  {figures['images']:6}  " + "  ".join(f"{value:>11}" for value in values))
    return "\n".join(lines)


def _figure(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _macro(name: str, per_class: Sequence[dict[str, Any]]) -> float | None:
    missed = [0.0 for figures in per_class if name == "precision" and figures[name] is None and figures["images"]]
    defined = [figures[name] for figures in per_class if figures[name] is not None] + missed
    return round(sum(defined) / len(defined), 6) if defined else None
