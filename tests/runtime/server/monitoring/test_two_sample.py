"""The test of two sets of counts: exact with few images, and neither blind nor too eager."""

from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from ctonnx.server.monitoring.two_sample import p_value, population_stability


def counts(values: NDArray[np.integer[Any]], bins: int) -> NDArray[np.int64]:
    return np.bincount(values, minlength=bins).astype(np.int64)


@pytest.mark.parametrize("kind", ["ordered", "categories"])
@pytest.mark.parametrize(("images", "others"), [(30, 200), (300, 40)])
def test_small_p_values_are_rare(kind: Literal["ordered", "categories"], images: int, others: int) -> None:
    """Of 300 pairs without a difference, about 30 have p <= 0.1; 55 has a probability below 1e-5."""
    random, shares = np.random.default_rng(0), np.array([0.6, 0.2, 0.1, 0.06, 0.04])
    found = []
    for _ in range(300):
        first, second = (counts(random.choice(5, size, p=shares), 5) for size in (images, others))
        found.append(p_value(first, second, kind, random))
    assert sum(p <= 0.1 for p in found) < 55
    assert sum(p <= 0.5 for p in found) > 90  # and it is not blind


@pytest.mark.parametrize("kind", ["ordered", "categories"])
def test_p_value_is_that_of_all_divisions(kind: Literal["ordered", "categories"]) -> None:
    """Of the 70 divisions of 4 + 4 images, 2 differ as much as 4 zeros and 4 ones."""
    p = p_value(np.array([4, 0]), np.array([0, 4]), kind, np.random.default_rng(0))
    assert p == pytest.approx(2 / 70, rel=0.7)


def test_large_difference_has_the_smallest_p_value() -> None:
    p = p_value(np.array([100, 0, 0]), np.array([0, 0, 200]), "ordered", np.random.default_rng(0), draws=41_000)
    assert p == 1 / 41_001


def test_order_of_the_bins_counts_only_for_numbers() -> None:
    """Shifted by one bin: large for cumulative shares of many bins only if all shift in one direction."""
    first, second = np.array([20, 0, 20, 0, 20, 0]), np.array([0, 20, 0, 20, 0, 20])
    ordered, categories = (p_value(first, second, kind, np.random.default_rng(0)) for kind in ("ordered", "categories"))
    assert categories < 1e-4 < ordered


def test_empty_set_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected images in both sets, found none in one"):
        p_value(np.array([0, 0]), np.array([1, 0]), "ordered", np.random.default_rng(0))


def test_index_is_the_sum_over_the_shares() -> None:
    index, by_chance = population_stability(np.array([599_999, 399_999]), np.array([399_999, 599_999]), "categories")
    assert index == pytest.approx(2 * 0.2 * np.log(1.5), rel=1e-4)
    assert by_chance == pytest.approx(2 / 999_998)


def test_index_of_the_same_distribution_is_that_by_chance_on_average() -> None:
    random = np.random.default_rng(0)
    found = [
        population_stability(
            counts(random.integers(0, 20, 100), 20), counts(random.integers(0, 20, 200), 20), "ordered"
        )
        for _ in range(200)
    ]
    index, by_chance = np.mean(found, axis=0)
    assert index == pytest.approx(by_chance, rel=0.15)
    assert by_chance == pytest.approx(9 * (1 / 100 + 1 / 200))
