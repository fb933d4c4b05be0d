"""Subgroups of patients: their shares, whether they differ beyond chance, and values that are too rare to be named."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import fisher_exact

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx_train.evaluation.patients.subgroups import permutation_test, subgroup_metrics, values_of_patients
from ctonnx_train.evaluation.statistics.shares import share_of

CLASSES = ("normal", "tumor", "nodule")
POINT = OperatingPoint(positive=("tumor", "nodule"), threshold=0.5, sensitivity=1.0, specificity=1.0)


def found(right: np.ndarray[Any, Any], groups: np.ndarray[Any, Any], permutations: int = 10_000) -> float:
    test = permutation_test(right, groups, permutations=permutations, random=np.random.default_rng(0))
    assert test is not None
    return test["p_value"]


def predicted(right: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Probabilities whose highest is that of the label where it is right, and of the next class elsewhere."""
    probabilities = np.full((len(labels), 3), 0.1)
    probabilities[np.arange(len(labels)), np.where(right, labels, (labels + 1) % 3)] = 0.8
    return probabilities


def test_a_difference_between_two_groups_has_the_p_value_of_fishers_exact_test() -> None:
    groups = np.repeat([0, 1], [30, 30])
    right = np.concatenate([np.arange(30) < 28, np.arange(30) < 18])
    exact = fisher_exact([[28, 2], [18, 12]]).pvalue
    assert found(right, groups, 100_000) == pytest.approx(exact, rel=0.1)


def test_groups_that_do_not_differ_are_rejected_no_more_often_than_the_level() -> None:
    random = np.random.default_rng(5)
    groups = np.repeat([0, 1, 2], [25, 40, 60])
    p_values = np.array([found(random.random(125) < 0.8, groups, 400) for _ in range(400)])
    for level in (0.05, 0.2):
        assert (p_values <= level).mean() <= level + 2 * np.sqrt(level * (1 - level) / 400)
    assert (p_values <= 0.2).mean() > 0.1  # it is not a test that never rejects


def test_patients_of_one_group_count_once_in_intervals_and_tests() -> None:
    labels = np.tile([0, 1], 40)
    right = np.random.default_rng(0).random(80) < np.repeat([0.9, 0.5], 40)
    site = ["A"] * 40 + ["B"] * 40
    twins = [number // 4 * 2 + number % 2 for number in range(80)]  # two patients of one class and one site
    options: dict[str, Any] = {"permutations": 200}
    alone, found = (
        subgroup_metrics({"site": site}, predicted(right, labels), labels, CLASSES, POINT, groups=groups, **options)
        for groups in (None, twins)
    )
    assert alone is not None
    assert found is not None
    share = found["by"]["site"]["values"]["A"]["class tumor"]
    rows = np.flatnonzero(labels[:40] == 1)
    expected = share_of(right[rows], np.array(twins)[rows])
    assert (share["patients"], share["interval"]) == (20, expected["interval"])
    assert share["interval"] != alone["by"]["site"]["values"]["A"]["class tumor"]["interval"]
    firsts = np.unique(twins, return_index=True)[1]
    once = subgroup_metrics(
        {"site": [site[row] for row in firsts]},
        predicted(right[firsts], labels[firsts]),
        labels[firsts],
        CLASSES,
        POINT,
        **options,
    )
    assert once is not None
    assert found["by"]["site"]["tests"] == once["by"]["site"]["tests"] != alone["by"]["site"]["tests"]


def test_the_family_of_all_tests_keeps_its_level() -> None:
    random = np.random.default_rng(6)
    labels = np.tile([0, 1, 2], 40)
    sex, site = (["F", "M"] * 60, [name for name in "abcd" for _ in range(30)])
    wrong = 0
    for _ in range(60):
        probabilities = predicted(random.random(120) < 0.75, labels)
        metrics = subgroup_metrics({"sex": sex, "site": site}, probabilities, labels, CLASSES, POINT, permutations=500)
        assert metrics is not None
        assert metrics["tests"] == 10  # sensitivity and specificity of the point, and three classes, twice
        tests = [test for of in metrics["by"].values() for test in of["tests"].values()]
        wrong += any(test["adjusted_p_value"] < 0.05 for test in tests)
    assert wrong <= 7  # of 60 where 3 are expected; 8 or more have a chance below 1 %


def test_a_class_that_is_missed_in_one_group_is_found_and_the_others_are_not() -> None:
    labels = np.tile([0, 1], 60)
    scanner = np.repeat(["A", "B"], 60)
    right = ~((scanner == "B") & (labels == 1) & (np.arange(120) % 4 != 1))
    metrics = subgroup_metrics({"scanner": scanner.tolist()}, predicted(right, labels), labels, CLASSES, None)
    assert metrics is not None
    tests = metrics["by"]["scanner"]["tests"]
    assert list(tests) == ["class tumor"]  # no normal patient is missed anywhere
    assert tests["class tumor"]["difference"] == 0.5
    assert tests["class tumor"]["p_value"] == 1 / 10_001  # none of 10,000 permutations has such a difference
    assert tests["class tumor"]["adjusted_p_value"] == 0.0001
    of_b = metrics["by"]["scanner"]["values"]["B"]
    assert of_b["class tumor"] == {"value": 0.5, "interval": share_of(np.arange(30) < 15)["interval"], "patients": 30}
    assert of_b["patients"] == 60


def test_p_values_are_adjusted_for_the_number_of_tests() -> None:
    labels = np.tile([0, 1, 2], 30)
    random = np.random.default_rng(2)
    groups = {name: random.permutation(["x", "y", "z"] * 30).tolist() for name in ("first", "second")}
    metrics = subgroup_metrics(groups, predicted(random.random(90) < 0.7, labels), labels, CLASSES, None)
    assert metrics is not None
    tests = sorted((test for of in metrics["by"].values() for test in of["tests"].values()), key=lambda t: t["p_value"])
    assert metrics["tests"] == len(tests) == 6
    highest = 0.0
    for rank, test in enumerate(tests):
        highest = max(highest, min(1.0, test["p_value"] * (6 - rank)))
        assert test["adjusted_p_value"] == pytest.approx(highest, abs=1e-6)


def test_small_groups_are_listed_and_rare_values_are_not_named() -> None:
    values = ["A"] * 20 + ["B"] * 19 + ["Miller, Jane", "Smith, John"] + [None]
    labels = np.zeros(42, int)
    metrics = subgroup_metrics({"site": values}, predicted(np.ones(42, bool), labels), labels, CLASSES, None)
    assert metrics is not None
    site = metrics["by"]["site"]
    assert list(site["values"]) == ["A"]
    assert (site["too_small"], site["rare"], site["unknown"]) == ({"B": 19}, {"values": 2, "patients": 2}, 1)
    assert site["tests"] == {}
    assert "Miller" not in str(metrics)


def test_two_classes_with_an_operating_point_are_its_sensitivity_and_specificity() -> None:
    labels = np.tile([0, 1], 20)
    point = OperatingPoint(positive=("tumor",), threshold=0.5, sensitivity=1.0, specificity=1.0)
    probabilities = predicted(np.ones(40, bool), labels)[:, :2]
    metrics = subgroup_metrics({"sex": ["F"] * 40}, probabilities, labels, CLASSES[:2], point)
    assert metrics is not None
    assert list(metrics["by"]["sex"]["values"]["F"]) == ["patients", "suspicious", "not suspicious"]


def test_there_is_nothing_without_subgroups() -> None:
    assert subgroup_metrics({}, np.empty((0, 3)), np.empty(0, int), CLASSES, None) is None


def test_a_patient_whose_slices_differ_has_several_values() -> None:
    rows = [np.array([0, 1]), np.array([2, 3]), np.array([4])]
    assert values_of_patients(rows, ["a", "a", "a", "b", None]) == ["a", "several", None]


def test_many_different_numbers_are_cut_in_three_in_their_order() -> None:
    rows = [np.array([row]) for row in range(9)]
    ages = values_of_patients(rows, [f"{age:03d}Y" for age in (5, 40, 9, 41, 60, 61, 7, 45, 99)])
    expected = ["below 40", "40 to below 60", "below 40", "40 to below 60", "60 or more", "60 or more", "below 40"]
    assert ages == [*expected, "40 to below 60", "60 or more"]
    thicknesses = [["1.0", "1.25", "5.0"][row % 3] for row in range(9)]
    assert values_of_patients(rows, thicknesses) == thicknesses
    labels = np.zeros(60, int)
    young = ["60 or more"] * 20 + ["8 to below 60"] * 20 + ["below 8"] * 20
    metrics = subgroup_metrics({"age": young}, predicted(np.ones(60, bool), labels), labels, CLASSES, None)
    assert metrics is not None
    assert list(metrics["by"]["age"]["values"]) == ["below 8", "8 to below 60", "60 or more"]
