"""Numbers of decisions and of predicted classes that a change of the scans alters, with 95 % intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.rule import decide_all
from ctonnx.parity.intervals import share_interval
from ctonnx_train.evaluation.evaluated_model import EvaluatedModel

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

    `flipped` is a decision that became the opposite one, `newly_referred` one that became `refer`, `newly_decided` the
    reverse; `class_changed` is another predicted class. Without an operating point there is only the last.
    """
    kinds = {}
    if before.decisions is not None and after.decisions is not None:
        was_referred, is_referred = before.decisions == "refer", after.decisions == "refer"
        kinds["flipped"] = (before.decisions != after.decisions) & ~was_referred & ~is_referred
        kinds["newly_referred"] = ~was_referred & is_referred
        kinds["newly_decided"] = was_referred & ~is_referred
    kinds["class_changed"] = before.predicted != after.predicted
    return kinds


def count_changes(
    before: Answers, after: Answers, labels: NDArray[np.integer[Any]], classes: Sequence[str]
) -> dict[str, Any]:
    """Returns the number and share of changed images, of all and by true class, as a JSON-ready dictionary."""
    kinds = kinds_of_change(before, after)
    found: dict[str, Any] = {"images": len(labels), **{name: _share(flags) for name, flags in kinds.items()}}
    if before.decisions is not None:
        to_negative = kinds["flipped"] & (before.decisions == "positive")
        found["flipped"]["to_negative"] = int(to_negative.sum())
    found["by_class"] = {
        name: {"images": int(chosen.sum()), **{kind: _share(flags[chosen]) for kind, flags in kinds.items()}}
        for index, name in enumerate(classes)
        if (chosen := labels == index).any()
    }
    return found


def _share(flags: NDArray[np.bool_]) -> dict[str, Any]:
    share = float(flags.mean())
    return {"count": int(flags.sum()), "share": share, "interval": list(share_interval(share, len(flags)))}
