"""Comparison of a model of a family with the first one: agreement and accuracy, with their intervals."""

from dataclasses import asdict, replace
from typing import Any

from ctonnx.parity.comparison import Parity, accuracy_change, compare
from ctonnx.parity.intervals import share_interval
from ctonnx.parity.outputs import Outputs
from ctonnx_bench.benchmark.family.images import FamilyImages

__all__ = ["accuracy_of", "agreement_interval", "compare_outputs"]


def compare_outputs(first: Outputs, outputs: Outputs) -> Parity:
    """Compares the outputs of two models for the same images.

    The novelty is not compared, as two networks have different features.
    """
    one, other = (replace(each, novelty=None) for each in (first, outputs))
    return compare(one, other)


def agreement_interval(parity: Parity, images: FamilyImages) -> tuple[float, float]:
    """Returns the 95 % interval of the agreement, for the effective number of images."""
    return share_interval(parity.agreement, images.effective)


def accuracy_of(first: Outputs, outputs: Outputs, images: FamilyImages) -> dict[str, Any] | None:
    """Returns a model's accuracy, and its difference from the first model's on the same images.

    Both intervals are for the effective number of images: if images of a patient were treated as independent, they
    would be too narrow.

    Returns:
        `images`, `effective_images`, `value`, `low`, `high` (95 %, Wilson 1927), and `change`: `difference` of the
        accuracies with `low` and `high` (95 %, paired: Agresti and Min 2005), as of `AccuracyChange`; None without
        labels.
    """
    change = accuracy_change(first, outputs, images.checked.labels, effective_images=images.effective)
    if change is None:
        return None
    low, high = share_interval(change.candidate, images.effective)
    return {
        "images": change.images,
        "effective_images": images.effective,
        "value": change.candidate,
        "low": low,
        "high": high,
        "change": asdict(change),
    }
