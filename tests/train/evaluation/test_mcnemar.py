"""Two classifiers on the same images: McNemar's test by hand, and the agreement."""

from math import comb

import numpy as np
import pytest
from numpy.typing import NDArray

from ctonnx_train.evaluation.mcnemar import compare_answers


def told(*answers: int) -> NDArray[np.float64]:
    """Probabilities of two classes: 0.75 for the one that is told."""
    return np.array([[0.75, 0.25] if answer == 0 else [0.25, 0.75] for answer in answers])


def by_hand(first: int, second: int) -> float:
    """The two-sided p-value of a fair coin that falls `first` times on one side and `second` times on the other."""
    images = first + second
    chances = [comb(images, hits) / 2.0**images for hits in range(images + 1)]
    return sum(chance for chance in chances if chance <= chances[first] * (1 + 1e-7))


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [(0, 1, 1.0), (5, 0, 0.0625), (1, 7, 0.0703125), (3, 3, 1.0), (0, 10, 0.001953125), (12, 4, None)],
)
def test_mcnemars_test_is_a_hand_computed_binomial(only_first: int, only_second: int, p_value: float | None) -> None:
    both, neither = 4, 2
    first = told(*[0] * only_first, *[1] * only_second, *[0] * both, *[1] * neither)
    second = told(*[1] * only_first, *[0] * only_second, *[0] * both, *[1] * neither)
    found = compare_answers(first, second, np.zeros(len(first), int))
    assert found["mcnemar"] == {
        "only_first_right": only_first,
        "only_second_right": only_second,
        "p_value": pytest.approx(by_hand(only_first, only_second), abs=1e-12),
    }
    assert p_value is None or found["mcnemar"]["p_value"] == pytest.approx(p_value, abs=1e-12)


def test_images_that_both_got_wrong_in_different_ways_do_not_count_for_the_test_but_for_the_agreement() -> None:
    first, second = np.eye(3)[[1, 0]], np.eye(3)[[2, 0]]
    found = compare_answers(first, second, np.array([0, 0]))
    assert found["mcnemar"] == {"only_first_right": 0, "only_second_right": 0, "p_value": 1.0}
    assert found["agreement"] == 0.5


def test_agreement_differences_and_accuracy_are_what_a_hand_computes() -> None:
    first = np.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75], [0.25, 0.75]])
    second = np.array([[0.75, 0.25], [0.25, 0.75], [0.25, 0.75], [1.0, 0.0]])
    assert compare_answers(first, second, np.array([0, 1, 1, 0])) == {
        "images": 4,
        "agreement": 0.5,
        "max_dp": 0.75,
        "mean_dp": 0.25,
        "accuracy_difference": 0.5,
        "mcnemar": {"only_first_right": 0, "only_second_right": 2, "p_value": 0.5},
    }


def test_the_same_answers_agree_and_do_not_differ() -> None:
    answers = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    found = compare_answers(answers, answers, np.arange(20) % 3)
    assert (found["agreement"], found["max_dp"], found["accuracy_difference"]) == (1.0, 0.0, 0.0)
    assert found["mcnemar"]["p_value"] == 1.0


def test_answers_the_other_way_round_turn_the_signs_and_keep_the_p_value() -> None:
    rng = np.random.default_rng(1)
    first, second, labels = rng.dirichlet(np.ones(3), 40), rng.dirichlet(np.ones(3), 40), rng.integers(0, 3, 40)
    there, back = compare_answers(first, second, labels), compare_answers(second, first, labels)
    assert there["accuracy_difference"] == -back["accuracy_difference"] != 0
    assert there["mcnemar"]["only_first_right"] == back["mcnemar"]["only_second_right"]
    assert there["mcnemar"]["p_value"] == pytest.approx(back["mcnemar"]["p_value"])


def test_differences_of_single_precision_are_taken_in_double_precision() -> None:
    first, second = np.array([[0.1, 0.9]], np.float32), np.array([[0.1, 0.9]], np.float64)
    expected = float(abs(np.float64(np.float32(0.1)) - 0.1))
    assert compare_answers(first, second, np.array([1]))["max_dp"] == pytest.approx(
        max(expected, float(abs(np.float64(np.float32(0.9)) - 0.9))), rel=1e-9
    )
