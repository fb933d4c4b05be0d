"""Interleaved rounds, and ratios of pairs."""

import pytest

from ctonnx_bench.measurement.interleaving import interleaved, measure_in_turn, paired_ratio


def test_order_alternates_between_rounds() -> None:
    assert list(interleaved({"a": 1, "b": 2}, 3)) == ["a", "b", "b", "a", "a", "b"]
    assert list(interleaved(["a"], 0)) == []


def test_ratio_is_of_pairs_not_of_medians() -> None:
    assert paired_ratio([1.0, 20.0, 300.0], [1.0, 10.0, 100.0]) == 2.0


def test_missing_round_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_ratio([1.0, 2.0], [1.0])


def test_items_are_measured_in_turn() -> None:
    taken: list[str] = []

    def measure(item: str) -> int:
        taken.append(item)
        return len(taken)

    assert measure_in_turn("AB", 2, measure) == {"A": [1, 4], "B": [2, 3]}
    assert taken == ["A", "B", "B", "A"]
