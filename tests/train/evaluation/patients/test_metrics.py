"""Metrics of patients: their numbers, intervals over patients, and which rule is used."""

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from tests.train.evaluation.patients.made import CLASSES, POSITIVE, Made, made

from ctonnx.artifacts.decision.patient_rule import PatientRule
from ctonnx.errors import DataError
from ctonnx_train.data.patients import Patients
from ctonnx_train.evaluation.fitting.threshold import suspicious_metrics
from ctonnx_train.evaluation.patients.aggregation import Aggregation, aggregate
from ctonnx_train.evaluation.patients.fitting import fit_patient_rule
from ctonnx_train.evaluation.patients.metrics import ChosenRule, PatientSlices, find_rule, patient_metrics, rule_of
from ctonnx_train.evaluation.statistics.metrics import evaluate


def slices_of(scans: Made, **subgroups: list[str]) -> PatientSlices:
    return PatientSlices(patients=scans.patients(**subgroups), samples=scans.samples, groups=scans.numbers)


def fitted(scans: Made) -> PatientRule:
    rule = fit_patient_rule(*scans, CLASSES, POSITIVE, sensitivity=0.9, coverage=0.9).rule
    assert rule is not None
    return rule


def measured(scans: Made, chosen: ChosenRule, slices: PatientSlices | None = None, **options: Any) -> dict[str, Any]:
    return patient_metrics(
        slices or slices_of(scans), scans.probabilities, scans.labels, CLASSES, chosen, replicates=100, **options
    )


def test_each_patient_counts_once_in_every_metric() -> None:
    scans = made(24, 6)
    rule = fitted(scans)
    found = measured(scans, rule_of(rule))
    patients = aggregate(*scans, CLASSES, POSITIVE, Aggregation(rule.aggregate, rule.k))
    expected = evaluate(
        patients.probabilities, patients.labels.tolist(), CLASSES, groups=list(range(24)), replicates=100
    )
    assert (found["count"], found["images"], found["origin"]) == (24, 144, "--group-regex")
    metrics = found["metrics"]
    assert metrics["accuracy"] == expected["accuracy"]
    assert metrics["intervals"] == expected["intervals"]
    assert (metrics["patients"], metrics["per_class"]["tumor"]["patients"]) == (24, 12)
    assert (metrics["bootstrap"]["unit"], metrics["bootstrap"]["units"]) == ("patient", 24)
    suspicious = suspicious_metrics(rule.operating_point, patients.probabilities, patients.labels, CLASSES)
    assert suspicious is not None
    assert found["suspicious"] == {name.replace("images", "patients"): value for name, value in suspicious.items()}
    assert found["decisions"]["patients"] == 24
    assert found["auroc"]["value"] == expected["per_class"]["tumor"]["auroc"]
    assert found["auroc"]["interval"] == expected["intervals"]["per_class"]["tumor"]["auroc"]
    assert found["rule"] == {
        "aggregate": rule.aggregate,
        "k": rule.k,
        "threshold": rule.operating_point.threshold,
        "patients": 24,
    }
    assert found["subgroups"] is None
    assert "images" not in json.dumps(found["metrics"]) + json.dumps(found["decisions"])


def test_patients_who_share_a_copy_are_resampled_together() -> None:
    scans = made(6, 2)
    slices = replace(slices_of(scans), groups=[max(0, number - 1) for number in scans.numbers])
    found = measured(scans, rule_of(fitted(scans)), slices)
    assert found["metrics"]["bootstrap"]["unit"] == "group of patients"
    assert (found["metrics"]["bootstrap"]["units"], found["count"]) == (5, 6)


def test_patients_who_share_a_copy_are_worth_one_in_subgroups() -> None:
    scans = made(40, 2)
    slices = slices_of(scans, sex=["F"] * 40)
    pairs = replace(slices, groups=[number // 4 * 2 + number % 2 for number in scans.numbers])
    rule = rule_of(fitted(scans))
    alone, found = (
        measured(scans, rule, of)["subgroups"]["by"]["sex"]["values"]["F"]["suspicious"] for of in (slices, pairs)
    )
    assert found["value"] == alone["value"]
    assert found["interval"][0] < alone["interval"][0]


def test_novel_slices_and_warnings_refer_their_patient() -> None:
    scans = made(6, 3)
    rule = replace(fitted(scans), aggregate="mean", k=None, prediction_sets=None)
    novel, caution = np.zeros(18, bool), np.zeros(18, bool)
    novel[:2] = True
    caution[3] = True
    slices = replace(slices_of(scans), is_novel=novel, has_caution=caution)
    decisions = measured(scans, rule_of(rule), slices)["decisions"]
    assert decisions["referred_by"] == {"set": 0, "novelty": 1, "caution": 0}


def with_series(scans: Made, series: Callable[[int], tuple[str, str]], **subgroups: list[str]) -> PatientSlices:
    """The slices, with the study and the series of each by its row."""
    known = scans.patients(**subgroups)
    studies, numbers = zip(*(series(row) for row in range(len(scans.samples))), strict=True)
    paths = [sample.path for sample in scans.samples]
    patients = replace(
        known, studies=dict(zip(paths, studies, strict=True)), series=dict(zip(paths, numbers, strict=True))
    )
    return PatientSlices(patients=patients, samples=scans.samples, groups=scans.numbers)


def test_one_series_of_each_patient_is_evaluated_and_the_others_are_counted() -> None:
    scans = made(24, 6)
    rule = fitted(scans)
    slices = with_series(scans, lambda row: ("st", "12"[row % 6 > 3]))
    found = measured(scans, rule_of(rule), slices)
    assert found["left_out"] == {"slices": {"of another series": 48}, "series": 24, "patients": 0}
    assert (found["count"], found["images"]) == (24, 144)
    used = np.arange(144) % 6 < 4
    patients = aggregate(
        *(scans.probabilities[used], scans.labels[used], np.array(scans.names)[used].tolist(), CLASSES, POSITIVE),
        Aggregation(rule.aggregate, rule.k),
    )
    expected = suspicious_metrics(rule.operating_point, patients.probabilities, patients.labels, CLASSES)
    assert expected is not None
    assert found["suspicious"]["sensitivity"] == expected["sensitivity"]
    assert measured(scans, ChosenRule(), slices)["left_out"] == found["left_out"]


def test_a_patient_with_another_study_is_not_negative() -> None:
    scans = made(6, 3)
    rule = replace(fitted(scans), prediction_sets=None)
    rule = replace(rule, operating_point=replace(rule.operating_point, threshold=1.0))
    slices = with_series(scans, lambda row: ("old" if row == 2 else "new", "1"))
    decisions = measured(scans, rule_of(rule), slices)["decisions"]
    assert (decisions["referred"], decisions["referred_by"]) == (1, {"set": 0, "study": 1})
    assert "study" not in measured(scans, rule_of(rule))["decisions"]["referred_by"]


def test_subgroups_are_those_of_the_slices_that_are_used() -> None:
    scans = made(40, 3)
    slices = with_series(scans, lambda row: ("st", "12"[row % 3 > 1]))
    kernel = {sample.path: "soft" if row % 3 < 2 else "lung" for row, sample in enumerate(scans.samples)}
    slices = replace(slices, patients=replace(slices.patients, subgroups={"kernel": kernel}))
    values = measured(scans, rule_of(fitted(scans)), slices)["subgroups"]["by"]["kernel"]["values"]
    assert {name: of["patients"] for name, of in values.items()} == {"soft": 40}


def test_without_a_rule_the_score_is_measured_and_nothing_is_decided() -> None:
    scans = made(12, 4)
    found = measured(scans, ChosenRule(Aggregation("mean"), None, POSITIVE))
    assert found["rule"] == {"aggregate": "mean", "k": None, "threshold": None, "patients": None}
    assert found["auroc"]["value"] > 0.5
    assert (found["suspicious"], found["decisions"]) == (None, None)
    assert measured(scans, ChosenRule(Aggregation("mean")))["auroc"] is None


def test_without_an_aggregate_only_the_patients_are_counted() -> None:
    assert measured(made(12, 4), ChosenRule()) == {
        "count": 12,
        "images": 48,
        "origin": "--group-regex",
        "rule": None,
    }


def test_subgroups_are_those_of_the_patients() -> None:
    scans = made(60, 3)
    found = measured(scans, rule_of(fitted(scans)), slices_of(scans, sex=["F", "F", "M"] * 20))
    sex = found["subgroups"]["by"]["sex"]
    assert {value: of["patients"] for value, of in sex["values"].items()} == {"F": 40, "M": 20}
    assert sex["values"]["M"]["suspicious"]["patients"] == 10


def test_images_without_a_patient_stand_for_themselves() -> None:
    scans = made(4, 2)
    known = {sample.path: name for sample, name in zip(scans.samples[:4], scans.names, strict=False)}
    slices = PatientSlices(
        patients=Patients(origin="labels file", names=known), samples=scans.samples, groups=[0, 0, 1, 1, 2, 3, 4, 5]
    )
    assert slices.unit == "patient"
    assert measured(scans, ChosenRule(Aggregation("max"), None, POSITIVE), slices)["count"] == 6


def model(rule: PatientRule | None, classes: tuple[str, ...] = CLASSES) -> Any:
    return SimpleNamespace(patient_rule=rule, operating_point=None, classes=classes)


def test_the_models_threshold_is_used_with_its_own_aggregate_only() -> None:
    rule = replace(fitted(made(24, 6)), aggregate="top-k", k=3)
    assert find_rule(model(rule)) == (Aggregation("top-k", 3), rule, POSITIVE)
    assert find_rule(model(rule), "top-k") == (Aggregation("top-k", 3), rule, POSITIVE)
    assert find_rule(model(rule), "top-k", 2) == (Aggregation("top-k", 2), None, POSITIVE)
    assert find_rule(model(rule), "max") == (Aggregation("max"), None, POSITIVE)
    assert find_rule(model(None)) == find_rule(model(rule), has_patients=False) == ChosenRule()
    assert find_rule(model(None), "mean") == (Aggregation("mean"), None, POSITIVE)


@pytest.mark.parametrize(
    ("classes", "has_patients", "message"),
    [
        (
            CLASSES,
            False,
            "expected the patients of the images for --aggregate max, found none; name them: --labels or --group-regex",
        ),
        (("a", "b"), True, "expected suspicious classes for --aggregate max, found none; use --aggregate mean"),
    ],
)
def test_an_aggregate_needs_patients_and_suspicious_classes(
    classes: tuple[str, ...], has_patients: bool, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        find_rule(cast("Any", model(None, classes)), "max", has_patients=has_patients)
    assert str(caught.value) == message
