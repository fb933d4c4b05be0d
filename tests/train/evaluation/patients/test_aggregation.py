"""From slices to patients: whose scores count, what a patient's label is, and when its slices refer it."""

from dataclasses import replace

import numpy as np
import pytest

from ctonnx_train.evaluation.patients.aggregation import Aggregation, aggregate, label_of, slice_weights
from ctonnx_train.evaluation.patients.slices import ChosenSlices

CLASSES = ("benign", "normal", "tumor")
SCORES = np.array([0.1, 0.9, 0.2, 0.4, 0.6])
PROBABILITIES = np.stack([0.25 * (1 - SCORES), 0.75 * (1 - SCORES), SCORES], axis=1)
LABELS = np.array([1, 2, 1, 0, 0])
NAMES = ["b", "a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("how", "scores", "carrying"),
    [
        (Aggregation("max"), [0.6, 0.9], [[4], [1]]),
        (Aggregation("mean"), [0.3, 0.65], [[4, 2, 0], [1, 3]]),
        (Aggregation("top-k", 2), [0.4, 0.65], [[4, 2], [1, 3]]),
        (Aggregation("top-k", 9), [0.3, 0.65], [[4, 2, 0], [1, 3]]),
    ],
    ids=lambda value: value.name if isinstance(value, Aggregation) else "",
)
def test_a_patients_probabilities_are_the_mean_over_the_slices_that_carry_its_score(
    how: Aggregation, scores: list[float], carrying: list[list[int]]
) -> None:
    found = aggregate(PROBABILITIES, LABELS, NAMES, CLASSES, ("tumor",), how)
    np.testing.assert_allclose(found.probabilities[:, 2], scores)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    assert [rows.tolist() for rows in found.carrying] == carrying
    assert [rows.tolist() for rows in found.rows] == [[0, 2, 4], [1, 3]]
    assert found.labels.tolist() == [1, 2]


def test_the_score_is_that_of_the_used_slices_and_the_class_that_of_their_study() -> None:
    chosen = ChosenSlices(
        used=np.array([True, False, True, False, False]),
        of_study=np.array([True, False, True, False, True]),
        has_other_study=np.zeros(5, bool),
    )
    found = aggregate(PROBABILITIES, LABELS, NAMES, CLASSES, ("benign",), Aggregation("mean"), chosen)
    assert found.names == ("b",)  # nothing of the other patient is used
    np.testing.assert_allclose(found.probabilities, [PROBABILITIES[[0, 2]].mean(axis=0)])
    assert found.labels.tolist() == [0]  # the last slice is not used, but shows what the patient has
    assert [rows.tolist() for rows in found.used] == [[0, 2]]
    assert [rows.tolist() for rows in found.rows] == [[0, 2, 4]]
    assert sorted(found.carrying[0].tolist()) == [0, 2]
    other = replace(chosen, of_study=chosen.used)  # the last slice is of another study
    found = aggregate(PROBABILITIES, LABELS, NAMES, CLASSES, ("benign",), Aggregation("mean"), other)
    assert found.labels.tolist() == [1]


def test_one_slice_of_a_suspicious_class_makes_the_patient_of_that_class() -> None:
    assert label_of(np.array([1, 1, 1, 2]), CLASSES, ("tumor",)) == 2
    assert label_of(np.array([1, 1, 0]), CLASSES, ("tumor",)) == 1
    assert label_of(np.array([2, 0, 1, 1]), CLASSES, ("benign", "tumor")) == 0  # of equal ones the first
    assert label_of(np.array([2, 2, 0]), CLASSES, ()) == 2


def test_a_patient_is_referred_if_more_than_half_of_the_carrying_slices_are_flagged() -> None:
    found = aggregate(PROBABILITIES, LABELS, NAMES, CLASSES, ("tumor",), Aggregation("mean"))
    novel, caution = np.array([True, True, False, False, False]), np.array([False, False, True, False, False])
    by_novelty, by_caution = found.refer(novel, caution)
    assert by_novelty.tolist() == [True, False]  # two of three slices; one of two is not more than half
    assert by_caution.tolist() == [True, False]
    strongest = aggregate(PROBABILITIES, LABELS, NAMES, CLASSES, ("tumor",), Aggregation("max"))
    assert [flags.tolist() for flags in strongest.refer(novel)] == [[False, True]]  # others do not carry the score
    assert found.any_of(caution).tolist() == [True, False]
    assert found.first_of([7, 8, 7, 8, 7]).tolist() == [7, 8]


def test_without_suspicious_classes_only_the_mean_is_defined() -> None:
    assert len(aggregate(PROBABILITIES, LABELS, NAMES, CLASSES, (), Aggregation("mean")).labels) == 2
    with pytest.raises(ValueError, match=r"^expected suspicious classes for the aggregate 'top-3', found none$"):
        aggregate(PROBABILITIES, LABELS, NAMES, CLASSES, (), Aggregation("top-k", 3))


def test_each_patient_counts_once_in_the_weights_of_slices() -> None:
    assert slice_weights(NAMES).tolist() == [1 / 3, 1 / 2, 1 / 3, 1 / 2, 1 / 3]
