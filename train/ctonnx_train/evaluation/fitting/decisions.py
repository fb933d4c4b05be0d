"""Measures the decisions of a model, `positive`, `negative` or `refer`, on labelled images."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from ctonnx.artifacts.decision.operating_point import OperatingPoint, suspicion
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.decision.rule import decide_all
from ctonnx.parity.rounding import cautious
from ctonnx_train.evaluation.statistics.shares import share_of

__all__ = ["Flags", "decision_confidence", "decision_metrics", "decisions_as_text", "risk_coverage"]

Flags: TypeAlias = NDArray[np.bool_]
"""A flag for each image."""

_INSIDE = (1e-12, 1 - 1e-12)  # scores whose logits are finite


def decision_metrics(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: Sequence[str],
    *,
    point: OperatingPoint | None,
    sets: PredictionSets | None,
    is_novel: Flags | None = None,
    has_caution: Flags | None = None,
    is_partial: Flags | None = None,
    groups: Sequence[int] | NDArray[np.integer[Any]] | None = None,
) -> dict[str, Any] | None:
    """Returns the metrics of a model's decisions as a JSON-ready dictionary, or None if it has no operating point.

    The probabilities, [images, classes], are those after the temperature. `is_partial` are patients of whom another
    study is not predicted, who are referred instead of negative.

    Returns:
        `images`, `referred` and `referred_share`; `referred_by`, the number of images for each kind of reason (an image
        may have several); `sensitivity` and `specificity` among the images that are decided, with their numbers; the
        same for the referred ones, `positive_referred` and `negative_referred`. With prediction sets also `coverage` by
        class, with the coverage that is promised for it, and the mean `set_size`. All shares have 95 % Wilson score
        intervals; a share of no images is None. `groups` are those of the images, such as patients, for the intervals;
        see `ctonnx_train.evaluation.statistics.shares.share_of`.
    """
    if point is None:
        return None
    images = len(labels)
    called = point.calls(probabilities, classes)
    inside = None if sets is None else sets.sets(probabilities, classes)
    by_set = np.array([found.name == "refer" for found in decide_all(probabilities, classes, point, sets=sets)], bool)
    kinds = {"set": by_set}
    kinds |= {"novelty": is_novel} if is_novel is not None else {}
    kinds |= {"caution": has_caution} if has_caution is not None else {}
    kinds |= {"study": is_partial & ~called} if is_partial is not None else {}
    referred = np.logical_or.reduce(list(kinds.values()))
    is_positive = np.isin(labels, [classes.index(name) for name in point.positive])
    units = None if groups is None else np.asarray(groups)
    metrics = {
        "images": images,
        "referred": int(referred.sum()),
        **_share("referred_share", referred, units),
        "referred_by": {kind: int(flags.sum()) for kind, flags in kinds.items()},
        "positive_referred": int((referred & is_positive).sum()),
        "negative_referred": int((referred & ~is_positive).sum()),
    }
    for name, right, decided in (
        ("sensitivity", called, is_positive & ~referred),
        ("specificity", ~called, ~is_positive & ~referred),
    ):
        of = None if units is None else units[decided]
        metrics |= {**_share(name, right[decided], of), f"{name}_images": int(decided.sum())}
    if sets is not None and inside is not None:
        metrics["coverage"] = {
            name: {
                **_share("share", inside[labels == index, index], None if units is None else units[labels == index]),
                "images": int((labels == index).sum()),
                "promised": sets.covered(name),
            }
            for index, name in enumerate(classes)
        }
        metrics["set_size"] = round(float(inside.sum(axis=1).mean()), 4)
    return metrics


def decisions_as_text(found: Mapping[str, Any]) -> str:
    """Returns the share that is referred, and the metrics of the decided ones, from `decision_metrics`.

    >>> decisions_as_text({"referred_share": 0.05, "sensitivity": 0.98, "specificity": None})
    'referred 0.050; of the others, sensitivity 0.980, specificity -'
    """
    shown = {
        name: cautious(found[name], found.get(f"{name}_interval"), up=name == "referred_share")
        for name in ("referred_share", "sensitivity", "specificity")
    }
    return "referred {referred_share}; of the others, sensitivity {sensitivity}, specificity {specificity}".format(
        **shown
    )


def risk_coverage(
    confidence: NDArray[np.floating[Any]], is_wrong: Flags
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the error among the images that are decided, against the share that is: the surest are decided first.

    Images of equal confidence are decided together. Both arrays, [points], are shares from 0 to 1; that of the decided
    images is ascending, and ends at 1.

    Source: El-Yaniv and Wiener 2010, https://jmlr.org/papers/v11/el-yaniv10a.html

    >>> decided, error = risk_coverage(np.array([0.9, 0.8, 0.6, 0.6]), np.array([False, False, True, False]))
    >>> decided.tolist(), error.tolist()
    ([0.25, 0.5, 1.0], [0.0, 0.0, 0.25])
    """
    order = np.argsort(-confidence, kind="stable")
    decided = np.arange(1, len(confidence) + 1)
    last = np.append(np.diff(confidence[order]) != 0, True)  # of several images with the same confidence
    return decided[last] / len(confidence), is_wrong[order].cumsum()[last] / decided[last]


def decision_confidence(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: Sequence[str],
    positive: Sequence[str],
    threshold: float,
) -> tuple[NDArray[np.float64], Flags]:
    """Returns the confidence of each image's call by a threshold, and whether the call is wrong: both [images].

    The confidence is the distance of the score from the threshold in logits.
    """
    scores = suspicion(probabilities, classes, positive)
    is_positive = np.isin(labels, [classes.index(name) for name in positive])
    distance: NDArray[np.float64] = np.abs(logit(np.clip(scores, *_INSIDE)) - logit(np.clip(threshold, *_INSIDE)))
    return distance, (scores >= threshold) != is_positive


def _share(name: str, flags: Flags, groups: NDArray[np.integer[Any]] | None) -> dict[str, Any]:
    found = share_of(flags, groups)
    return {name: found["value"], f"{name}_interval": found["interval"]}
