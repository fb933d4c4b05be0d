"""McNemar's test of two classifiers on the same images, computed by hand."""

from math import comb

import numpy as np
import pytest
from numpy.typing import NDArray

from ctonnx_train.evaluation.statistics.mcnemar import mcnemar


def predicting(*classes: int) -> NDArray[np.float64]:
    """Probabilities of two classes, 0.75 for the predicted one."""
    return np.array([[0.75, 0.25] if label == 0 else [0.25, 0.75] for label in classes])


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
    first = predicting(*[0] * only_first, *[1] * only_second, *[0] * both, *[1] * neither)
    second = predicting(*[1] * only_first, *[0] * only_second, *[0] * both, *[1] * neither)
    found = mcnemar(first, second, np.zeros(len(first), int))
    assert found == {
        "only_first_right": only_first,
        "only_second_right": only_second,
        "p_value": pytest.approx(by_hand(only_first, only_second), abs=1e-12),
    }
    assert p_value is None or found["p_value"] == pytest.approx(p_value, abs=1e-12)


def test_images_that_both_got_wrong_in_different_ways_do_not_count() -> None:
    first, second = np.eye(3)[[1, 0]], np.eye(3)[[2, 0]]
    found = mcnemar(first, second, np.array([0, 0]))
    assert found == {"only_first_right": 0, "only_second_right": 0, "p_value": 1.0}


def test_same_predictions_do_not_differ() -> None:
    predictions = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    assert mcnemar(predictions, predictions, np.arange(20) % 3)["p_value"] == 1.0


def test_swapped_classifiers_swap_the_counts_and_keep_the_p_value() -> None:
    rng = np.random.default_rng(1)
    first, second, labels = rng.dirichlet(np.ones(3), 40), rng.dirichlet(np.ones(3), 40), rng.integers(0, 3, 40)
    there, back = mcnemar(first, second, labels), mcnemar(second, first, labels)
    assert there["only_first_right"] == back["only_second_right"] != back["only_first_right"]
    assert there["p_value"] == pytest.approx(back["p_value"])


def test_groups_of_one_image_give_mcnemars_p_value() -> None:
    first, second = predicting(*[0] * 7, *[1] * 2, 0), predicting(*[1] * 7, *[0] * 2, 0)
    labels = np.zeros(10, int)
    found = mcnemar(first, second, labels, groups=range(10))
    assert found == {**mcnemar(first, second, labels), "p_value": pytest.approx(by_hand(7, 2)), "units": 9}


def test_images_of_one_group_are_one_toss_of_the_coin() -> None:
    first, second = predicting(*[0] * 10, 1), predicting(*[1] * 10, 0)
    labels = np.zeros(11, int)
    groups = [0] * 5 + [1] * 5 + [2]
    alone, grouped = mcnemar(first, second, labels), mcnemar(first, second, labels, groups)
    assert alone["p_value"] == pytest.approx(by_hand(10, 1))  # 0.012, as if the ten were independent
    # Of the eight outcomes of three coins, 5 + 5 - 1 and 5 + 5 + 1 and their opposites are 9 or more.
    assert (grouped["p_value"], grouped["units"]) == (0.5, 3)
    equal = mcnemar(first, first, labels, groups)
    assert (equal["p_value"], equal["units"]) == (1.0, 0)
