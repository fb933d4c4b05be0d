"""Fits the values of an exported model on labelled scans, and cross-validates the fit."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.model_selection import StratifiedGroupKFold

from ctonnx.artifacts.decision.brightness import BrightnessRange
from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.patient_rule import PatientRule
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.decision.rule import decide_all
from ctonnx.artifacts.decision.usage import UsageReference
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.errors import DataError
from ctonnx.prediction.cautions import brightness_of
from ctonnx_train.evaluation.fitting.calibration import LEAST_WITHOUT_LEAKS, fit_temperature
from ctonnx_train.evaluation.fitting.novelty import fit_threshold
from ctonnx_train.evaluation.fitting.prediction_sets import COVERAGE, fit_prediction_sets
from ctonnx_train.evaluation.fitting.threshold import SENSITIVITY, fit_operating_point, positive_classes, without_leaks
from ctonnx_train.evaluation.fitting.usage import one_of_each, usage_of
from ctonnx_train.evaluation.patients.aggregation import Aggregation, aggregate, slice_weights
from ctonnx_train.evaluation.patients.fitting import fit_patient_rule
from ctonnx_train.recalibration.scans import FOLDS, SiteScans

__all__ = [
    "Judged",
    "Targets",
    "Values",
    "cross_validate",
    "fit_values",
    "judge",
    "targets_of",
    "usage_of_scans",
    "values_of",
]


@dataclass(frozen=True, kw_only=True)
class Values:
    """The values of a model that can be fitted without its network; None if the model has none."""

    temperature: float
    operating_point: OperatingPoint | None
    prediction_sets: PredictionSets | None
    novelty: Novelty | None
    brightness: BrightnessRange | None
    patient_rule: PatientRule | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns a JSON-ready dictionary."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Targets of the fit.

    Attributes:
        positive: Suspicious classes.
        sensitivity: Target sensitivity of the operating point.
        coverage: Coverage of the prediction sets.
        quantile: Share of the scans that the novelty threshold does not flag; None keeps the model's.
        aggregation: Slices that a patient's score is the mean of; None chooses it by the scans.
    """

    positive: tuple[str, ...]
    sensitivity: float
    coverage: float
    quantile: float | None
    aggregation: Aggregation | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """Scans judged by values.

    Attributes:
        probabilities: Probabilities, [scans, classes].
        called: Whether each scan is called suspicious, [scans]; None without an operating point.
        decisions: Decision about each scan, [scans]; None without an operating point.
        covered: Whether each scan's own class is in its prediction set, [scans]; None without prediction sets.
        flagged: Whether each scan is flagged as novel, [scans]; None without a novelty threshold.
        patient_called: Whether each scan's patient is called suspicious, [scans]; None without a rule for patients, or
            if the patients are unknown.
    """

    probabilities: NDArray[np.float64]
    called: NDArray[np.bool_] | None
    decisions: NDArray[np.str_] | None
    covered: NDArray[np.bool_] | None
    flagged: NDArray[np.bool_] | None
    patient_called: NDArray[np.bool_] | None = None


def values_of(spec: ModelSpec) -> Values:
    """Returns the values that a model has."""
    return Values(
        temperature=spec.temperature,
        operating_point=spec.operating_point,
        prediction_sets=spec.prediction_sets,
        novelty=spec.novelty,
        brightness=spec.brightness,
        patient_rule=spec.patient_rule,
    )


def targets_of(
    spec: ModelSpec, *, sensitivity: float | None, coverage: float | None, quantile: float | None
) -> Targets:
    """Returns the given targets, or else those that the model was fitted to reach.

    Raises:
        DataError: If no class of the model is suspicious, or all are.
    """
    point, sets = spec.operating_point, spec.prediction_sets
    positive = point.positive if point else positive_classes(spec.classes)
    if not positive:
        raise DataError(
            f"expected a model with suspicious classes and others, found one with {', '.join(spec.classes)} and no "
            "operating point; name them when training: ctonnx train --positive"
        )
    return Targets(
        positive=positive,
        sensitivity=sensitivity or (point.target_sensitivity if point else None) or SENSITIVITY,
        coverage=coverage or (sets.coverage if sets else COVERAGE),
        quantile=quantile,
        aggregation=Aggregation(rule.aggregate, rule.k) if (rule := spec.patient_rule) else None,
    )


def fit_values(scans: SiteScans, rows: NDArray[np.integer[Any]], targets: Targets, earlier: Values) -> Values:
    """Returns the values that fit the scans in `rows` best; a rule for patients only if these are known.

    Scans that leaked are left out, unless too few would remain for a value, as in the training.
    """
    labels = scans.labels[rows]
    groups = scans.groups[rows] if scans.is_grouped else None
    leaked = None if scans.leaked is None else scans.leaked[rows]
    is_positive = np.isin(labels, [scans.classes.index(name) for name in targets.positive])
    used = without_leaks(is_positive, leaked, least=LEAST_WITHOUT_LEAKS)
    weights = None if groups is None else slice_weights(groups[used].astype(np.str_).tolist())
    temperature = fit_temperature(scans.logits[rows][used], labels[used], weights)
    probabilities = _probabilities(scans.logits[rows], temperature)
    return Values(
        temperature=temperature,
        operating_point=fit_operating_point(
            probabilities,
            labels,
            scans.classes,
            targets.positive,
            sensitivity=targets.sensitivity,
            leaked=leaked,
            groups=groups,
        ),
        prediction_sets=fit_prediction_sets(
            probabilities,
            labels,
            scans.classes,
            targets.coverage,
            positive=targets.positive,
            leaked=leaked,
            groups=groups,
        ),
        novelty=_fit_novelty(scans.novelty, rows, targets.quantile, earlier.novelty, groups, leaked),
        brightness=brightness_of([scans.impressions[int(row)] for row in rows]),
        patient_rule=_fit_rule(scans, rows, probabilities, targets) if scans.is_grouped else None,
    )


def usage_of_scans(scans: SiteScans, values: Values) -> UsageReference | None:
    """Returns the counts of scans by values that were fitted on them, one of each patient if these are known."""
    return usage_of(
        one_of_each(scans.groups if scans.is_grouped else None, len(scans)),
        _probabilities(scans.logits, values.temperature),
        scans.classes,
        impressions=scans.impressions,
        point=values.operating_point,
        sets=values.prediction_sets,
        limit=values.novelty,
        novelty=scans.novelty,
        brightness=values.brightness,
    )


def judge(scans: SiteScans, rows: NDArray[np.integer[Any]], values: Values) -> Judged:
    """Judges the scans in `rows` by values."""
    probabilities = _probabilities(scans.logits[rows], values.temperature)
    novelty = None if scans.novelty is None else scans.novelty[rows]
    point, sets, limit = values.operating_point, values.prediction_sets, values.novelty
    labels = scans.labels[rows]
    decisions = None
    if point:
        cautions = [scans.impressions[int(row)].caution_of(values.brightness) for row in rows]
        found = decide_all(
            probabilities, scans.classes, point, sets=sets, limit=limit, novelty=novelty, cautions=cautions
        )
        decisions = np.array([decision.name for decision in found], np.str_)
    return Judged(
        probabilities=probabilities,
        called=point.calls(probabilities, scans.classes) if point else None,
        decisions=decisions,
        covered=sets.sets(probabilities, scans.classes)[np.arange(len(rows)), labels] if sets else None,
        flagged=limit.flags(novelty) if limit and novelty is not None else None,
        patient_called=_call_patients(scans, rows, probabilities, values.patient_rule),
    )


def cross_validate(scans: SiteScans, targets: Targets, earlier: Values, seed: int = 0) -> Judged:
    """Judges each scan by values that it did not choose: those fitted to the other folds.

    The folds are stratified by class, and groups are kept together.
    """
    split = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(scans.labels, scans.labels, scans.groups)
    held_out, parts = [], []
    for fitted, judged in split:
        held_out.append(judged)
        parts.append(judge(scans, judged, fit_values(scans, fitted, targets, earlier)))
    order = np.argsort(np.concatenate(held_out))

    def joined(name: str) -> Any:
        arrays = [getattr(part, name) for part in parts]
        return None if any(array is None for array in arrays) else np.concatenate(arrays)[order]

    return Judged(
        probabilities=joined("probabilities"),
        called=joined("called"),
        decisions=joined("decisions"),
        covered=joined("covered"),
        flagged=joined("flagged"),
        patient_called=joined("patient_called"),
    )


def _probabilities(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    values: NDArray[np.float64] = softmax(logits.astype(np.float64) / temperature, axis=1)
    return values


def _fit_rule(
    scans: SiteScans, rows: NDArray[np.integer[Any]], probabilities: NDArray[np.float64], targets: Targets
) -> PatientRule | None:
    """Returns the rule for patients, or None if no operating point can be fitted: there is one kind of patients."""
    how = targets.aggregation
    return fit_patient_rule(
        probabilities,
        scans.labels[rows],
        scans.groups[rows].astype(np.str_).tolist(),
        scans.classes,
        targets.positive,
        choice="auto" if how is None else how.aggregate,
        k=None if how is None else how.k,
        sensitivity=targets.sensitivity,
        coverage=targets.coverage,
        leaked=None if scans.leaked is None else scans.leaked[rows],
        chosen=None if scans.chosen is None else scans.chosen.take(rows),
    ).rule


def _call_patients(
    scans: SiteScans,
    rows: NDArray[np.integer[Any]],
    probabilities: NDArray[np.float64],
    rule: PatientRule | None,
) -> NDArray[np.bool_] | None:
    """Returns for each scan in `rows` whether its patient is called suspicious; None if that is unknown.

    A patient without scans that the score comes from is not.
    """
    if rule is None or not scans.is_grouped:
        return None
    point = rule.operating_point
    patients = scans.groups[rows].astype(np.str_).tolist()
    how = Aggregation(rule.aggregate, rule.k)
    chosen = None if scans.chosen is None else scans.chosen.take(rows)
    found = aggregate(probabilities, scans.labels[rows], patients, scans.classes, point.positive, how, chosen)
    called = np.zeros(len(rows), bool)
    for of_patient, is_called in zip(found.rows, point.calls(found.probabilities, scans.classes), strict=True):
        called[of_patient] = is_called
    return called


def _fit_novelty(
    novelty: NDArray[np.float32] | None,
    rows: NDArray[np.integer[Any]],
    quantile: float | None,
    earlier: Novelty | None,
    groups: NDArray[np.integer[Any]] | None,
    leaked: NDArray[np.bool_] | None,
) -> Novelty | None:
    """Returns the threshold of the novelty output on these scans; None if the model has none."""
    if novelty is None or earlier is None:
        return None
    return fit_threshold(
        novelty[rows],
        leaked,
        quantile=quantile or earlier.quantile,
        training_images=earlier.training_images,
        components=earlier.components,
        groups=groups,
    )
