"""Chooses how the slices of a patient are aggregated, and fits the rule on the validation patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from ctonnx.artifacts.decision.operating_point import suspicion
from ctonnx.artifacts.decision.patient_rule import Aggregate, PatientRule
from ctonnx.system.text import counted
from ctonnx_train.evaluation.fitting.prediction_sets import fit_prediction_sets
from ctonnx_train.evaluation.fitting.threshold import fit_operating_point, without_leaks
from ctonnx_train.evaluation.patients.aggregation import TOP_K, Aggregation, aggregate
from ctonnx_train.evaluation.patients.slices import ChosenSlices

__all__ = ["FittedPatients", "fit_patient_rule"]


@dataclass(frozen=True, kw_only=True)
class FittedPatients:
    """Result of `fit_patient_rule`.

    Attributes:
        how: Aggregate that was given or chosen.
        areas: AUROC of the score of the validation patients, by the name of each candidate; empty if none was chosen.
        rule: Rule for patients; None if no operating point could be fitted.
        patients: Number of validation patients.
    """

    how: Aggregation
    areas: Mapping[str, float]
    rule: PatientRule | None
    patients: int

    def sentence(self) -> str:
        """Returns the chosen aggregate and the missing parts in words, for a log."""
        chosen = ""
        if self.areas:
            areas = ", ".join(f"{name} {area:.3f}" for name, area in self.areas.items())
            chosen = f", chosen by its AUROC ({areas})"
        sets = ""
        if self.rule is None:
            sets = "; no operating point: it needs validation patients with suspicious classes and without"
        elif self.rule.prediction_sets is None:
            sets = "; no prediction sets of patients: they need validation patients of every class"
        return f"{counted(self.patients, 'validation patient')}: score by {self.how.name}{chosen}{sets}"


def fit_patient_rule(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    patients: Sequence[str],
    classes: Sequence[str],
    positive: Sequence[str],
    *,
    choice: Literal["auto"] | Aggregate = "auto",
    k: int | None = None,
    sensitivity: float,
    coverage: float,
    leaked: NDArray[np.bool_] | None = None,
    chosen: ChosenSlices | None = None,
    groups: Sequence[int] | None = None,
) -> FittedPatients:
    """Fits the rule for patients on the validation patients, each of whom counts once.

    `auto` takes the aggregate whose score has the highest AUROC among `max`, `mean` and `top-k`, of equal ones the
    first. Patients with a leaked slice are left out of the choice and of the fits as leaked images are; see
    `ctonnx_train.evaluation.fitting.threshold.fit_operating_point`.

    Args:
        probabilities: Probabilities of the validation slices, [slices, classes].
        labels: Class index of each slice.
        patients: Patient of each slice.
        classes: Class names.
        positive: Names of the suspicious classes; without them, the aggregate is the mean and there is no rule.
        choice: Aggregate, or `auto`.
        k: Number of slices of `top-k`; None is `TOP_K`.
        sensitivity: Target sensitivity of the operating point.
        coverage: Target coverage of the prediction sets.
        leaked: Slices with a copy, or another slice of their patient, in the training set: bool [slices].
        chosen: Slices that the scores come from, as in prediction; None uses all.
        groups: Number of each slice's group: patients who share a copy of a slice are one, and count once in the bound
            and the intervals of the operating point and in the prediction sets. None if they are independent.
    """
    every: tuple[Aggregate, ...] = ("max", "mean", "top-k")
    names = every if choice == "auto" else (choice,)
    candidates = [Aggregation(name, (k or TOP_K) if name == "top-k" else None) for name in names if positive]
    candidates = candidates or [Aggregation("mean")]
    found = [aggregate(probabilities, labels, patients, classes, positive, how, chosen) for how in candidates]
    units = None if groups is None else found[0].first_of(groups)
    if units is not None and len(np.unique(units)) == len(units):
        units = None
    is_leaked = np.zeros(len(found[0].labels), bool) if leaked is None else found[0].any_of(leaked)
    is_positive = np.isin(found[0].labels, [classes.index(name) for name in positive])
    used = without_leaks(is_positive, is_leaked)
    areas: dict[str, float] = {}
    best = 0
    if len(candidates) > 1 and len(set(is_positive[used].tolist())) > 1:
        for how, of in zip(candidates, found, strict=True):
            scores = suspicion(of.probabilities, classes, positive)
            areas[how.name] = round(float(roc_auc_score(is_positive[used], scores[used])), 6)
        best = int(np.argmax(list(areas.values())))
    how, of = candidates[best], found[best]
    point = fit_operating_point(
        of.probabilities, of.labels, classes, positive, sensitivity=sensitivity, leaked=is_leaked, groups=units
    )
    if point is None:
        return FittedPatients(how=how, areas=areas, rule=None, patients=len(of.labels))
    sets = fit_prediction_sets(
        of.probabilities, of.labels, classes, coverage, positive=positive, leaked=is_leaked, groups=units
    )
    rule = PatientRule(
        aggregate=how.aggregate, k=how.k, operating_point=point, prediction_sets=sets, patients=int(used.sum())
    )
    return FittedPatients(how=how, areas=areas, rule=rule, patients=len(of.labels))
