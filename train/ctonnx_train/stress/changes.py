"""Numbers of decisions and of predicted classes that a change of the scans alters, with 95 % intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.rule import decide_all
from ctonnx_train.evaluation.evaluated_model import EvaluatedModel
from ctonnx_train.evaluation.statistics.shares import share_of

__all__ = ["Answers", "answers_of", "count_changes", "kinds_of_change"]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Predicted classes of some images, and their decisions if the model has an operating point."""

    predicted: NDArray[np.intp]
    decisions: NDArray[np.str_] | None


def answers_of(
    model: EvaluatedModel,
    probabilities: NDArray[np.floating[Any]],
    novelty: NDArray[np.float32] | None,
    cautions: Sequence[str | None],
) -> Answers:
    """Returns the predicted classes, and the decisions as `ctonnx predict` makes them with what the model has.

    Args:
        model: Model with its operating point, prediction sets and novelty threshold, each of which may be None.
        probabilities: [images, classes].
        novelty: [images], or None if the model has no such output.
        cautions: Warning about each image, or None.
    """
    predicted = probabilities.argmax(axis=1)
    point = model.operating_point
    if point is None:
        return Answers(predicted=predicted, decisions=None)
    decisions = decide_all(
        probabilities,
        model.classes,
        point,
        sets=model.prediction_sets,
        limit=model.novelty,
        novelty=novelty,
        cautions=cautions,
    )
    return Answers(predicted=predicted, decisions=np.array([decision.name for decision in decisions], str))


def kinds_of_change(before: Answers, after: Answers) -> dict[str, NDArray[np.bool_]]:
    """Returns a flag for each image that changed, by the kind of change, each [images].

    `decision_changed` is a decision that is lost: `flipped` to the opposite one, or `newly_referred`, from any to
    `refer`. The reverse, `newly_decided`, is none. `class_changed` is another predicted class. Without an operating
    point there is only the last.
    """
    kinds = {}
    if before.decisions is not None and after.decisions is not None:
        was_referred, is_referred = before.decisions == "refer", after.decisions == "refer"
        kinds["decision_changed"] = (before.decisions != after.decisions) & ~was_referred
        kinds["flipped"] = kinds["decision_changed"] & ~is_referred
        kinds["newly_referred"] = ~was_referred & is_referred
        kinds["newly_decided"] = was_referred & ~is_referred
    kinds["class_changed"] = before.predicted != after.predicted
    return kinds


def count_changes(
    before: Answers, after: Answers, labels: NDArray[np.integer[Any]], classes: Sequence[str]
) -> dict[str, Any]:
    """Returns the number and share of changed images, of all and by true class, as a JSON-ready dictionary.

    A changed decision, which is a flip or a referral, is a share of the images that were decided before the change: a
    model must not seem robust because it refers them anyway. `newly_decided` is a share of those that were referred,
    `class_changed` of all images. Each has its number of `images`; a share of none is None.
    """
    kinds = kinds_of_change(before, after)
    may_change = {}
    if before.decisions is not None:
        was_referred = before.decisions == "refer"
        may_change = dict.fromkeys(("decision_changed", "flipped", "newly_referred"), ~was_referred)
        may_change["newly_decided"] = was_referred

    def shares(chosen: NDArray[np.bool_]) -> dict[str, dict[str, Any]]:
        return {kind: _share(flags[may_change.get(kind, True) & chosen]) for kind, flags in kinds.items()}

    found: dict[str, Any] = {"images": len(labels), **shares(np.ones(len(labels), bool))}
    if before.decisions is not None:
        to_negative = kinds["flipped"] & (before.decisions == "positive")
        found["flipped"]["to_negative"] = int(to_negative.sum())
    found["by_class"] = {
        name: {"images": int(chosen.sum()), **shares(chosen)}
        for index, name in enumerate(classes)
        if (chosen := labels == index).any()
    }
    return found


def _share(flags: NDArray[np.bool_]) -> dict[str, Any]:
    found = share_of(flags)
    share = int(flags.sum()) / len(flags) if len(flags) else None  # not rounded: the gate compares it
    return {"count": int(flags.sum()), "images": len(flags), "share": share, "interval": found["interval"]}
