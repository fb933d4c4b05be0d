"""From the predictions of slices to those of patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.patient_rule import Aggregate, aggregate_slices, is_referred
from ctonnx_train.evaluation.patients.slices import ChosenSlices

__all__ = ["TOP_K", "Aggregation", "PatientPredictions", "aggregate", "label_of", "slice_weights"]

TOP_K = 3
"""Default number of slices of `top-k`."""


class Aggregation(NamedTuple):
    """Slices that a patient's score is the mean of; see `ctonnx.artifacts.decision.patient_rule.carrying_slices`."""

    aggregate: Aggregate
    k: int | None = None

    @property
    def name(self) -> str:
        """Name in a log: `max`, `mean` or for example `top-3`."""
        return f"top-{self.k}" if self.aggregate == "top-k" else self.aggregate


@dataclass(frozen=True, kw_only=True)
class PatientPredictions:
    """Predictions of patients, in the order of their first slices.

    Attributes:
        probabilities: Mean over the slices that carry a patient's score, float64 [patients, classes].
        labels: Class index of each patient, from `label_of`, int64 [patients].
        names: The patients.
        rows: Rows of all slices of each patient.
        used: Rows of the slices that the score comes from.
        carrying: Rows of the slices that carry each patient's score, the highest score first.
    """

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    rows: tuple[NDArray[np.intp], ...]
    used: tuple[NDArray[np.intp], ...]
    carrying: tuple[NDArray[np.intp], ...]

    def any_of(self, flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Returns for each patient whether one of its slices has a flag: bool [patients], from flags [slices]."""
        return np.array([flags[rows].any() for rows in self.rows], bool)

    def first_of(self, values: Sequence[int]) -> NDArray[np.int64]:
        """Returns the value of each patient's first slice, such as the number of its group: int64 [patients]."""
        return np.array([values[rows[0]] for rows in self.rows], np.int64)

    def refer(self, *flags: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
        """Returns for each kind of flag, bool [slices], the patients that are referred by it, bool [patients].

        A patient is referred as `ctonnx.artifacts.decision.patient_rule.is_referred` decides, by flags of any kind.
        """
        flagged = np.logical_or.reduce(flags)
        most = np.array([is_referred(flagged[rows]) for rows in self.carrying], bool)
        return [most & np.array([kind[rows].any() for rows in self.carrying], bool) for kind in flags]


def aggregate(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    patients: Sequence[str],
    classes: Sequence[str],
    positive: Sequence[str],
    how: Aggregation,
    chosen: ChosenSlices | None = None,
) -> PatientPredictions:
    """Returns the predictions of patients; one without slices that are used has none.

    Args:
        probabilities: Probabilities of the slices, [slices, classes].
        labels: Class index of each slice.
        patients: Patient of each slice.
        classes: Class names.
        positive: Names of the suspicious classes; they may be empty for the mean of all slices only.
        how: Slices that carry a patient's score.
        chosen: Slices that the scores come from; None uses all.

    Raises:
        ValueError: If there are no suspicious classes, and the aggregate needs them.
    """
    if not positive and how.aggregate != "mean":
        raise ValueError(f"expected suspicious classes for the aggregate '{how.name}', found none")
    every = np.ones(len(patients), bool)
    is_used, of_study = (every, every) if chosen is None else (chosen.used, chosen.of_study)
    own: dict[str, list[int]] = {}
    for row, name in enumerate(patients):
        own.setdefault(name, []).append(row)
    names, rows, used, carrying, means = list[str](), [], [], [], []
    for name, numbers in own.items():
        of = np.array(numbers, np.intp)
        if not is_used[of].any():
            continue
        found = aggregate_slices(probabilities[of[is_used[of]]], classes, positive, how.aggregate, how.k)
        names.append(name)
        rows.append(of)
        used.append(of[is_used[of]])
        carrying.append(used[-1][found.carrying])
        means.append(found.probabilities)
    return PatientPredictions(
        probabilities=np.array(means),
        labels=np.array([label_of(labels[of[of_study[of]]], classes, positive) for of in rows], np.int64),
        names=tuple(names),
        rows=tuple(rows),
        used=tuple(used),
        carrying=tuple(carrying),
    )


def label_of(labels: NDArray[np.integer[Any]], classes: Sequence[str], positive: Sequence[str]) -> int:
    """Returns the class of a patient with slices of these classes, at least one.

    It is the suspicious class with most slices if there is one, else the class with most; of equal ones the first.

    >>> label_of(np.array([0, 0, 0, 2]), ("normal", "benign", "tumor"), ("tumor",))
    2
    """
    counts = np.bincount(labels, minlength=len(classes))
    suspicious = np.where(np.isin(classes, list(positive)), counts, 0)
    return int((suspicious if suspicious.any() else counts).argmax())


def slice_weights(patients: Sequence[str]) -> NDArray[np.float64]:
    """Returns weights of slices with which each patient counts once: float64 [slices].

    >>> slice_weights(["a", "b", "a"]).tolist()
    [0.5, 1.0, 0.5]
    """
    places, counts = np.unique(np.array(patients, np.str_), return_inverse=True, return_counts=True)[1:]
    weights: NDArray[np.float64] = 1 / counts[places]
    return weights
