"""Interleaved rounds, and ratios of pairs."""

import pytest

from ctonnx_bench.measurement.interleaving import interleaved, paired_ratio


def test_order_alternates_between_rounds() -> None:
    assert list(interleaved({"a": 1, "b": 2}, 3)) == ["a", "b", "b", "a", "a", "b"]
    assert list(interleaved(["a"], 0)) == []


def test_ratio_is_of_pairs_not_of_medians() -> None:
    assert paired_ratio([1.0, 20.0, 300.0], [1.0, 10.0, 100.0]) == 2.0


def test_missing_round_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_ratio([1.0, 2.0], [1.0])
