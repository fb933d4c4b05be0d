"""Rule that makes one decision about a patient, study or series from the scores of its slices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.prediction_sets import PredictionSets

__all__ = ["Aggregate", "PatientRule", "aggregate_title", "carrying_slices"]

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
