"""The decision about an image, and its reason."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["Decision", "DecisionName", "decide"]

DecisionName: TypeAlias = Literal["positive", "negative", "refer"]


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
