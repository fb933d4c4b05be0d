"""How rare classes are made to count: by weights in the loss, or by drawing them more often."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

__all__ = ["Imbalance", "class_weights"]

Imbalance: TypeAlias = Literal["loss", "sampler", "none"]


def class_weights(labels: Sequence[int], classes: int) -> tuple[float, ...]:
    """Returns a weight for each class: images / (classes * images of the class), as scikit-learn's `balanced`.

    Source: King and Zeng 2001, https://doi.org/10.1093/oxfordjournals.pan.a004868.

    >>> class_weights([0, 0, 0, 1], 2)
    (0.6666666666666666, 2.0)

    Args:
        labels: of the training images; each class has at least one.
        classes: how many there are.
    """
    return tuple(len(labels) / (classes * labels.count(label)) for label in range(classes))
