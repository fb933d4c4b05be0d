"""Prediction sets: the classes that an image may have, so that its own class is among them with a stated coverage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts import json_schema

__all__ = ["PredictionSets", "conformity"]


def conformity(
    probabilities: NDArray[np.floating[Any]], classes: Sequence[str], positive: Sequence[str]
) -> NDArray[np.float32]:
    """Returns the conformity of each class with each image, how well it fits: float32 [images, classes], 0 to 1.

    It is the probability of the class times the summed probability of its side: the positive classes, or the others.
    Without positive classes it is the probability. The probabilities [images, classes] are converted to float32, the
    type of an exported model's outputs.

    >>> conformity(np.array([[0.6, 0.3, 0.1]]), ("normal", "tumor", "nodule"), ("tumor", "nodule")).round(2).tolist()
    [[0.36000001430511475, 0.11999999731779099, 0.03999999910593033]]
    """
    values = probabilities.astype(np.float32)
    if not positive:
        return values
    is_positive = np.array([name in positive for name in classes])
    sides = [values[:, side].sum(axis=1, dtype=np.float64) for side in (is_positive, ~is_positive)]
    found: NDArray[np.float32] = (values * np.where(is_positive, *(side[:, None] for side in sides))).astype(np.float32)
    return found


@dataclass(frozen=True, kw_only=True)
class PredictionSets:
    """Lowest conformity of each class that puts it in an image's prediction set: split conformal prediction by class.

    Of the images of each class, at least the share `coverage` have their own class in the set, if they are like those
    that it was fitted on. Source: Vovk 2012, https://arxiv.org/abs/1209.2673 (label-conditional); Sadinle, Lei and
    Wasserman 2019, https://arxiv.org/abs/1609.00451 (the probability as the conformity).

    The conformity of a class is its probability times that of its side, the suspicious classes or the others. The
    probability of one of several suspicious classes may be as low for an image of that class as for a normal one; that
    of its side is not. So fewer sets have classes of both sides, at the same coverage.

    A class with too few images for the coverage shares the value of all images together, and nothing is promised for it
    (Ding et al. 2023, https://arxiv.org/abs/2306.09335).

    Attributes:
        coverage: Requested coverage of each class, 0 to 1.
        lowest: Lowest conformity with which a class is in the set, by class.
        images: Number of images that each class's value was fitted on, by class.
        patients: Number of patients of these images, by class, each of whom counts once; None if they are unknown.
        positive: Names of the suspicious classes; if empty, the conformity is the probability alone.
        leaked_images_used: True if it was fitted on leaked images too, as there were too few others.
    """

    coverage: Annotated[float, json_schema.Between(0, 1)]
    lowest: Mapping[str, Annotated[float, json_schema.Between(0, 1)]]
    images: Mapping[str, Annotated[int, json_schema.Between(0)]]
    positive: tuple[str, ...] = ()
    leaked_images_used: bool = False
    patients: Mapping[str, Annotated[int, json_schema.Between(0)]] | None = None

    @property
    def independent(self) -> Mapping[str, int]:
        """Number of independent units of each class: patients, or images where the patients are unknown."""
        return self.images if self.patients is None else self.patients

    def covered(self, name: str) -> float | None:
        """Returns the coverage that is promised for a class; None if it has too few images: n promise n / (n + 1).

        Where the patients are known, n is their number.

        >>> sets = PredictionSets(coverage=0.95, lowest={"a": 0.1, "b": 0.2}, images={"a": 40, "b": 13})
        >>> sets.covered("a"), sets.covered("b")
        (0.95, None)
        """
        images = self.independent[name]
        return self.coverage if images / (images + 1) >= self.coverage else None

    @property
    def short_of_images(self) -> tuple[str, ...]:
        """The classes with too few images for the requested coverage: for them the promise is not made."""
        return tuple(name for name in self.lowest if self.covered(name) is None)

    def sets(self, probabilities: NDArray[np.floating[Any]], classes: Sequence[str]) -> NDArray[np.bool_]:
        """Returns the set of each image: bool [images, classes], for probabilities of that shape.

        The most probable class is always in the set: a set is never empty, and the coverage can only rise.
        """
        lowest = np.array([self.lowest[name] for name in classes], np.float32)
        inside: NDArray[np.bool_] = conformity(probabilities, classes, self.positive) >= lowest
        inside[np.arange(len(inside)), probabilities.astype(np.float32).argmax(axis=1)] = True
        return inside

    def validate(self, classes: Sequence[str]) -> None:
        """Validates the values with the classes of the model.

        Raises:
            ValueError: If a class is missing or unknown, or all are suspicious.
        """
        is_known = set(self.positive) < set(classes) and len(set(self.positive)) == len(self.positive)
        if not (set(self.lowest) == set(self.images) == set(self.independent) == set(classes) and is_known):
            raise ValueError(
                f"expected prediction sets of the classes {json_schema.shown(classes)}, found "
                f"{json_schema.shown(tuple(self.lowest))}"
            )
