"""The decision about an image, and its reason."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.prediction_sets import PredictionSets

__all__ = ["Decision", "DecisionName", "decide", "decide_all", "describe_basis", "describe_reasons"]

DecisionName: TypeAlias = Literal["positive", "negative", "refer"]


_REASONS = {"set": "prediction set", "novelty": "novelty", "caution": "warning", "study": "another study"}


class Decision(NamedTuple):
    """A decision; `refer` has a reason, the others have none."""

    name: DecisionName
    reason: str | None = None


def decide(
    suspicious: bool,
    positive: Sequence[str],
    *,
    classes_in_set: Sequence[str] | None = None,
    is_novel: bool = False,
    caution: str | None = None,
) -> Decision:
    """Returns the decision about an image: that of the operating point, or `refer` where something speaks against it.

    Args:
        suspicious: Whether the score reaches the threshold of the operating point.
        positive: Names of the classes that count as suspicious.
        classes_in_set: Prediction set; None if the model has none.
        is_novel: Whether the image is flagged as unlike the training images.
        caution: Warning not to trust the model on this image, if there is one.

    >>> decide(True, ["tumor"], classes_in_set=["tumor"])
    Decision(name='positive', reason=None)
    >>> decide(True, ["tumor"], classes_in_set=["normal", "tumor"])
    Decision(name='refer', reason='the prediction set has both suspicious and other classes: normal, tumor')
    """
    reasons = []
    if caution:
        reasons.append(caution)
    if is_novel:
        reasons.append("unlike the training images: its novelty is above the threshold")
    if classes_in_set is not None:
        kinds = {name in positive for name in classes_in_set}
        named = ", ".join(classes_in_set)
        if len(kinds) > 1:
            reasons.append(f"the prediction set has both suspicious and other classes: {named}")
        elif kinds != {suspicious}:
            side = "reaches" if suspicious else "is below"
            reasons.append(f"the score {side} the threshold, but the prediction set has only {named}")
    if reasons:
        return Decision("refer", "; ".join(reasons))
    return Decision("positive" if suspicious else "negative")


def decide_all(
    probabilities: NDArray[np.floating[Any]],
    classes: Sequence[str],
    point: OperatingPoint,
    *,
    sets: PredictionSets | None = None,
    limit: Novelty | None = None,
    novelty: NDArray[np.floating[Any]] | None = None,
    cautions: Sequence[str | None] | None = None,
) -> list[Decision]:
    """Returns the decision about each image of a batch, by all that the model has.

    Args:
        probabilities: Probabilities, [images, classes].
        classes: Class names, in the order of the probabilities.
        point: Operating point.
        sets: Prediction sets; None if the model has none.
        limit: Threshold of the novelty; None if the model has none.
        novelty: Novelty, [images]; None if the model has no such output.
        cautions: Warning about each image, or None; None if the images gave none.
    """
    called = point.calls(probabilities, classes)
    inside = None if sets is None else sets.sets(probabilities, classes)
    novel = np.zeros(len(called), bool) if limit is None or novelty is None else limit.flags(novelty)
    return [
        decide(
            bool(suspicious),
            point.positive,
            classes_in_set=None if inside is None else [classes[int(column)] for column in np.flatnonzero(inside[row])],
            is_novel=bool(novel[row]),
            caution=cautions[row] if cautions is not None else None,
        )
        for row, suspicious in enumerate(called)
    ]


def describe_basis(*, sets: bool, novelty: bool) -> str:
    """Returns the parts that the decisions of a model with an operating point rest on, and those that it lacks.

    Args:
        sets: Whether the prediction sets take part.
        novelty: Whether the novelty does.

    >>> describe_basis(sets=True, novelty=True)
    'the operating point, the prediction sets, the novelty and the warnings about an image'
    >>> describe_basis(sets=False, novelty=True)
    'the operating point, the novelty and the warnings about an image alone, without prediction sets'
    """
    parts = {"prediction sets": sets, "novelty": novelty}
    used = ["the operating point", *(f"the {name}" for name, is_used in parts.items() if is_used)]
    lacking = [name for name, is_used in parts.items() if not is_used]
    text = f"{', '.join(used)} and the warnings about an image"
    return f"{text} alone, without {' and '.join(lacking)}" if lacking else text


def describe_reasons(referred_by: Mapping[str, Any]) -> str:
    """Returns the number of referred images for each kind of reason; an image may have several.

    >>> describe_reasons({"set": 12, "novelty": 3})
    'prediction set 12, novelty 3'
    """
    return ", ".join(f"{title} {referred_by[kind]}" for kind, title in _REASONS.items() if kind in referred_by)
