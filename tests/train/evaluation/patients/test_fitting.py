"""The rule for patients: the aggregate is chosen on validation patients, who count once each."""

from typing import Any

import numpy as np
import pytest
from tests.train.evaluation.patients.made import CLASSES, POSITIVE, made

from ctonnx_train.evaluation.fitting.threshold import fit_operating_point
from ctonnx_train.evaluation.patients.aggregation import Aggregation, aggregate
from ctonnx_train.evaluation.patients.fitting import fit_patient_rule
from ctonnx_train.evaluation.patients.slices import ChosenSlices

TARGETS: dict[str, Any] = {"sensitivity": 0.95, "coverage": 0.9}


def test_the_aggregate_whose_score_separates_the_patients_best_is_chosen() -> None:
    scans = made(60, 8)  # lesions in few slices: the strongest slice shows them, and the mean hides them
    found = fit_patient_rule(*scans, CLASSES, POSITIVE, **TARGETS)
    assert list(found.areas) == ["max", "mean", "top-3"]
    assert found.areas["max"] > found.areas["mean"]
    assert found.how.name == max(found.areas, key=found.areas.__getitem__)
    everywhere = made(60, 8)
    labels = np.repeat(np.arange(60) % 2, 8)
    logits = np.random.default_rng(1).normal(size=480) + 0.5 * labels  # a weak sign in every slice
    scores = 1 / (1 + np.exp(-logits))
    probabilities = np.stack([1 - scores, scores], axis=1)
    assert fit_patient_rule(probabilities, labels, everywhere.names, CLASSES, POSITIVE, **TARGETS).how == (
        "mean",
        None,
    )


def test_of_equal_aggregates_the_first_is_chosen_and_logged() -> None:
    scans = made(40, 1)
    found = fit_patient_rule(*scans, CLASSES, POSITIVE, **TARGETS)
    assert found.how == Aggregation("max")
    area = found.areas["max"]
    assert found.sentence() == (
        f"40 validation patients: score by max, chosen by its AUROC (max {area:.3f}, mean {area:.3f}, top-3 {area:.3f})"
    )


def test_the_operating_point_and_the_sets_are_those_of_the_patients() -> None:
    scans = made(60, 8)
    found = fit_patient_rule(*scans, CLASSES, POSITIVE, choice="top-k", k=2, **TARGETS)
    assert found.rule is not None
    assert (found.how, found.areas, found.patients) == (("top-k", 2), {}, 60)
    assert (found.rule.aggregate, found.rule.k, found.rule.patients) == ("top-k", 2, 60)
    patients = aggregate(*scans, CLASSES, POSITIVE, Aggregation("top-k", 2))
    assert found.rule.operating_point == fit_operating_point(
        patients.probabilities, patients.labels, CLASSES, POSITIVE, leaked=np.zeros(60, bool)
    )
    assert found.rule.operating_point.positive_images == 30
    assert found.rule.prediction_sets is not None
    assert found.rule.prediction_sets.images == {"normal": 30, "tumor": 30}


def test_too_few_patients_promise_no_coverage() -> None:
    found = fit_patient_rule(*made(10, 8), CLASSES, POSITIVE, **TARGETS)
    assert found.rule is not None
    assert found.rule.prediction_sets is not None
    assert found.rule.prediction_sets.short_of_images == CLASSES


def test_patients_with_a_leaked_slice_are_left_out_of_the_choice_and_the_fits() -> None:
    scans = made(60, 8)
    leaked = np.zeros(480, bool)
    leaked[::16] = True  # the first slice of every second patient, of the healthy ones
    leaked[: 8 * 30] = False
    found = fit_patient_rule(*scans, CLASSES, POSITIVE, leaked=leaked, **TARGETS)
    assert found.rule is not None
    assert found.rule.operating_point.leaked_images == 15
    assert found.rule.patients == 45
    assert found.rule.operating_point.negative_images == 15
    kept = np.repeat(~leaked.reshape(60, 8).any(axis=1), 8)
    others = fit_patient_rule(
        scans.probabilities[kept],
        scans.labels[kept],
        [name for name, keep in zip(scans.names, kept, strict=True) if keep],
        CLASSES,
        POSITIVE,
        **TARGETS,
    )
    assert found.areas == others.areas


def test_the_rule_is_fitted_on_the_slices_that_are_used() -> None:
    scans = made(60, 8)
    used = np.arange(480) % 8 < 4  # the lesions are in the first three slices of each patient
    chosen = ChosenSlices(used=used, of_study=np.ones(480, bool), has_other_study=np.zeros(480, bool))
    found = fit_patient_rule(*scans, CLASSES, POSITIVE, chosen=chosen, **TARGETS)
    names = [name for name, is_used in zip(scans.names, used, strict=True) if is_used]
    expected = fit_patient_rule(scans.probabilities[used], scans.labels[used], names, CLASSES, POSITIVE, **TARGETS)
    assert found == expected != fit_patient_rule(*scans, CLASSES, POSITIVE, **TARGETS)


def test_patients_who_share_a_slice_count_once() -> None:
    scans = made(60, 8)
    alone = fit_patient_rule(*scans, CLASSES, POSITIVE, groups=scans.numbers, **TARGETS)
    assert alone == fit_patient_rule(*scans, CLASSES, POSITIVE, **TARGETS)
    pairs = [number // 4 * 2 + number % 2 for number in scans.numbers]  # two ill, or two healthy patients
    found = fit_patient_rule(*scans, CLASSES, POSITIVE, groups=pairs, **TARGETS)
    assert alone.rule is not None
    assert found.rule is not None
    assert found.rule.prediction_sets is not None
    assert found.rule.prediction_sets.patients == {"normal": 15, "tumor": 15}
    assert found.rule.operating_point.positive_patients == 15
    assert found.rule.operating_point.positive_images == 30
    assert found.rule.patients == 60
    bounds = [of.operating_point.sensitivity_bound for of in (found.rule, alone.rule)]
    assert bounds[0] is not None
    assert bounds[1] is not None
    assert bounds[0] < bounds[1]


@pytest.mark.parametrize(("positive", "name"), [(POSITIVE, "max"), ((), "mean")])
def test_without_patients_of_both_kinds_there_is_no_rule(positive: tuple[str, ...], name: str) -> None:
    scans = made(4, 2)
    healthy = np.zeros(8, np.int64)
    found = fit_patient_rule(scans.probabilities, healthy, scans.names, CLASSES, positive, **TARGETS)
    assert (found.rule, found.areas) == (None, {})
    assert found.sentence() == (
        f"4 validation patients: score by {name}; no operating point: it needs validation patients with suspicious "
        "classes and without"
    )


def test_a_class_without_validation_patients_leaves_the_sets_out() -> None:
    scans = made(10, 4)
    probabilities = np.insert(scans.probabilities, 2, 0.0, axis=1)
    found = fit_patient_rule(probabilities, scans.labels, scans.names, (*CLASSES, "nodule"), POSITIVE, **TARGETS)
    assert found.rule is not None
    assert found.rule.prediction_sets is None
    assert found.sentence().endswith("; no prediction sets of patients: they need validation patients of every class")
