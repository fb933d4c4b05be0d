"""A patient's score: which slices it is the mean of."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from ctonnx.artifacts import json_schema
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.patient_rule import PatientRule, aggregate_slices, carrying_slices, is_referred

SCORES = np.array([0.2, 0.9, 0.4, 0.9])


@pytest.mark.parametrize(
    ("aggregate", "k", "expected"),
    [("max", None, [1]), ("mean", None, [1, 3, 2, 0]), ("top-k", 3, [1, 3, 2]), ("top-k", 9, [1, 3, 2, 0])],
)
def test_the_slices_with_the_highest_scores_carry_a_patient(aggregate: Any, k: int | None, expected: list[int]) -> None:
    assert carrying_slices(SCORES, aggregate, k).tolist() == expected


POINT = OperatingPoint(threshold=0.5, positive=("cancer",), sensitivity=1.0, specificity=0.5)


def test_k_belongs_to_top_k() -> None:
    def rule(aggregate: Any, k: int | None) -> PatientRule:
        return PatientRule(aggregate=aggregate, k=k, operating_point=POINT, patients=3)

    for aggregate, k in (("max", 2), ("top-k", None)):
        with pytest.raises(ValueError, match="expected k for the aggregate 'top-k' alone"):
            rule(aggregate, k)
    titles = [rule("max", None).title, rule("mean", None).title, rule("top-k", 3).title]
    assert titles == ["the most suspicious slice", "the mean of all slices", "the mean of the 3 most suspicious slices"]


def test_a_rule_fits_the_classes_of_its_model() -> None:
    rule = PatientRule(aggregate="mean", operating_point=POINT, patients=3)
    rule.validate(["cancer", "normal"])
    with pytest.raises(ValueError, match="cancer"):
        rule.validate(["tumor", "normal"])


def test_a_rule_is_read_from_json() -> None:
    rule = PatientRule(aggregate="top-k", k=3, operating_point=POINT, patients=40)
    assert json_schema.read(PatientRule, json.loads(json.dumps(asdict(rule)))) == rule


def test_a_patients_probabilities_are_the_mean_over_the_slices_that_carry_its_score() -> None:
    scores = np.array([0.25, 0.75, 0.5])
    found = aggregate_slices(np.stack([1 - scores, scores], axis=1), ("normal", "tumor"), ("tumor",), "top-k", 2)
    assert found.scores.tolist() == scores.tolist()
    assert found.carrying.tolist() == [1, 2]
    assert found.probabilities.tolist() == [0.375, 0.625]


def test_half_of_the_carrying_slices_do_not_refer_a_patient() -> None:
    assert not is_referred(np.array([True, True, False, False]))
    assert is_referred(np.array([True, True, False]))
    assert not is_referred(np.array([], bool))
