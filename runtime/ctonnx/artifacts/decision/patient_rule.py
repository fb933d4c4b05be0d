"""Rule that makes one decision about a patient, study or series from the scores of its slices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.decision.operating_point import OperatingPoint, suspicion
from ctonnx.artifacts.decision.prediction_sets import PredictionSets

__all__ = [
    "Aggregate",
    "Aggregated",
    "PatientRule",
    "aggregate_slices",
    "aggregate_title",
    "carrying_slices",
    "is_referred",
]

Aggregate: TypeAlias = Literal["max", "mean", "top-k"]


def carrying_slices(scores: NDArray[np.floating[Any]], aggregate: Aggregate, k: int | None = None) -> NDArray[np.intp]:
    """Returns the slices that a patient's score is the mean of, the highest score first; of equal scores the first.

    `max` takes one slice, `mean` all, and `top-k` the k with the highest scores, or all of a patient with fewer. The
    probabilities of the patient's classes are the mean over the same slices.

    >>> carrying_slices(np.array([0.1, 0.9, 0.2]), "top-k", 2).tolist()
    [1, 2]
    """
    count = {"max": 1, "mean": len(scores), "top-k": k or len(scores)}[aggregate]
    return np.argsort(-scores, kind="stable")[:count]


class Aggregated(NamedTuple):
    """The slices of one patient, aggregated.

    Attributes:
        scores: Score of each slice, float64 [slices].
        carrying: Indices of the slices that carry the patient's score, the highest score first.
        probabilities: Mean over these slices, float64 [classes]. The patient's score is computed from it, in training
            as in prediction: a threshold may be exactly a patient's score.
    """

    scores: NDArray[np.float64]
    carrying: NDArray[np.intp]
    probabilities: NDArray[np.float64]


def aggregate_slices(
    probabilities: NDArray[np.floating[Any]],
    classes: Sequence[str],
    positive: Sequence[str],
    aggregate: Aggregate,
    k: int | None = None,
) -> Aggregated:
    """Aggregates the slices of one patient, at least one: their probabilities are [slices, classes]."""
    scores = suspicion(probabilities, classes, positive)
    carrying = carrying_slices(scores, aggregate, k)
    return Aggregated(scores, carrying, probabilities[carrying].astype(np.float64).mean(axis=0))


def is_referred(flagged: NDArray[np.bool_]) -> bool:
    """Returns whether a patient is referred: more than half of the slices that carry its score are flagged.

    >>> is_referred(np.array([True, False])), is_referred(np.array([True, True, False]))
    (False, True)
    """
    return 2 * int(flagged.sum()) > len(flagged)


def aggregate_title(aggregate: Aggregate, k: int | None = None) -> str:
    """Returns the slices of an aggregate in words.

    >>> aggregate_title("max"), aggregate_title("top-k", 3)
    ('the most suspicious slice', 'the mean of the 3 most suspicious slices')
    """
    if aggregate == "max":
        return "the most suspicious slice"
    return "the mean of all slices" if aggregate == "mean" else f"the mean of the {k} most suspicious slices"


@dataclass(frozen=True, kw_only=True)
class PatientRule:
    """Decision about a patient, chosen and fitted on the validation patients.

    In the operating point and the prediction sets, the numbers of images are those of patients, who count once each.

    Attributes:
        aggregate: Slices that count; see `carrying_slices`.
        k: Number of slices of `top-k`; None for the others.
        operating_point: Threshold of the patient's score.
        prediction_sets: Classes that a patient may have; None if there were too few patients.
        patients: Number of the validation patients.
    """

    aggregate: Aggregate
    operating_point: OperatingPoint
    patients: Annotated[int, json_schema.Between(1)]
    k: Annotated[int, json_schema.Between(1)] | None = None
    prediction_sets: PredictionSets | None = None

    def __post_init__(self) -> None:
        if (self.aggregate == "top-k") != (self.k is not None):
            raise ValueError(f"expected k for the aggregate 'top-k' alone, found {self.k!r} for '{self.aggregate}'")

    def validate(self, classes: Sequence[str]) -> None:
        """Raises ValueError if the operating point or the prediction sets do not fit the classes."""
        self.operating_point.validate(classes)
        if self.prediction_sets is not None:
            self.prediction_sets.validate(classes)

    @property
    def title(self) -> str:
        """The aggregate in words."""
        return aggregate_title(self.aggregate, self.k)

    def sentence(self, patients: str) -> str:
        """Returns the rule in words, with its metrics on the patients of this name that it was fitted on."""
        point, sets = self.operating_point, self.prediction_sets
        without = "" if sets else ", without prediction sets"
        return (
            f"a patient is suspicious if {self.title} scores {point.threshold:.6g} or more{without}; on the "
            f"{self.patients} {patients}, on which it was fitted: {point.metrics_text}"
        )
