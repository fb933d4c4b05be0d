"""Draws that drift along a body: distributed as NumPy's, equal at one level, similar at neighbouring ones."""

import numpy as np
import pytest

from ctonnx_train.data.phantom.drift import Drift

_SEEDS = np.random.SeedSequence(5)


def test_draws_at_one_level_are_the_same_and_of_other_seeds_others() -> None:
    first, again = (Drift(_SEEDS, 0.3, 1).normal(0, 1, 50) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = Drift(np.random.SeedSequence(6), 0.3, 1).normal(0, 1, 50)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.5


@pytest.mark.parametrize(("level", "similarity"), [(0.1, 0.995), (0.5, 0.878), (1.0, 0.540)])
def test_correlation_of_two_levels_is_the_cosine_of_their_distance(level: float, similarity: float) -> None:
    first, other = (Drift(_SEEDS, place, 1).normal(2, 3, 20_000) for place in (0, level))
    assert np.corrcoef(first, other)[0, 1] == pytest.approx(similarity, abs=0.02)
    assert (other.mean(), other.std()) == (pytest.approx(2, abs=0.1), pytest.approx(3, abs=0.1))


@pytest.mark.parametrize("level", [0, 0.5, 1])
def test_uniform_draws_stay_uniform_in_their_range(level: float) -> None:
    drawn = Drift(_SEEDS, level, 3).uniform((0, 10), (1, 30), (20_000, 2))
    shares, _ = np.histogram(drawn[:, 1], bins=10, range=(10, 30))
    assert drawn.min(axis=0).tolist() == pytest.approx([0, 10], abs=0.01)
    assert drawn.max(axis=0).tolist() == pytest.approx([1, 30], abs=0.01)
    assert shares.min() > 1850


def test_uniform_draws_move_little_between_neighbours_and_take_the_shape_of_their_limits() -> None:
    first, other = (Drift(_SEEDS, level, 1).uniform((0, 0), (1, 1)) for level in (0, 0.1))
    assert first.shape == (2,)
    assert 0 < np.abs(first - other).max() < 0.03
    assert np.shape(Drift(_SEEDS, 0, 1).uniform(2, 3)) == ()


def test_items_and_integers_are_the_same_at_all_levels() -> None:
    drawn = [
        (drift.choice([1, 2, 3], 20).tolist(), drift.integers(2, 42))
        for drift in (Drift(_SEEDS, level, 2) for level in (0, 0.5, 1))
    ]
    assert drawn[0] == drawn[1] == drawn[2]
    assert set(drawn[0][0]) == {1, 2, 3}
