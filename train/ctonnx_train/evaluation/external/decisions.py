"""Decisions of a model on many scans, and shares of scans with their intervals."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.decision.rule import decide
from ctonnx_train.evaluation.fitting.threshold import wilson_interval
from ctonnx_train.evaluation.metrics import as_text

__all__ = ["Share", "decide_all", "share_of", "share_text"]

Share: TypeAlias = dict[str, Any]
"""A share of scans: `value`, `interval` and `images`; the first two are None without images."""


def decide_all(
    probabilities: NDArray[np.floating[Any]],
    novelty: NDArray[np.floating[Any]] | None,
    classes: Sequence[str],
    point: OperatingPoint,
    sets: PredictionSets | None,
    limit: Novelty | None,
) -> NDArray[np.str_]:
    """Returns the decision about each scan, `positive`, `negative` or `refer`, [images].

    Warnings about single images, such as a blank one, are left to `ctonnx predict`.

    Args:
        probabilities: Predicted probabilities, [images, classes].
        novelty: The model's novelty, [images]; None if it has no such output.
        classes: Classes of the model.
        point: Operating point.
        sets: Prediction sets; None if the model has none.
        limit: Threshold of the novelty; None if the model has none.
    """
    called = point.calls(probabilities, classes)
    inside = None if sets is None else sets.sets(probabilities, classes)
    novel = np.zeros(len(called), bool) if novelty is None or limit is None else limit.flags(novelty)
    names = np.array(classes)
    found = [
        decide(
            bool(called[row]),
            point.positive,
            classes_in_set=None if inside is None else names[inside[row]].tolist(),
            is_novel=bool(novel[row]),
        ).name
        for row in range(len(called))
    ]
    return np.array(found, dtype=np.str_)


def share_of(flags: NDArray[np.bool_]) -> Share:
    """Returns the share of scans with a flag, bool [images], with its 95 % Wilson score interval.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953.
    """
    interval = wilson_interval(flags)
    if interval is None:
        return {"value": None, "interval": None, "images": 0}
    return {"value": round(float(flags.mean()), 6), "interval": list(interval), "images": len(flags)}


def share_text(share: Share) -> str:
    """Returns a share as text such as `0.900 [0.850, 0.950]`, or `-`."""
    return as_text(share["value"], share["interval"])
