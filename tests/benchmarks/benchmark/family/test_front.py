"""Pareto front: what no other surpasses."""

import math

from ctonnx_bench.benchmark.family.front import pareto_front


def test_front_has_what_no_other_dominates() -> None:
    costs = {"a": (1.0, 9.0), "b": (2.0, 5.0), "c": (3.0, 5.0), "d": (2.5, 6.0), "e": (9.0, 1.0)}
    assert pareto_front(costs) == ["a", "b", "e"]
    assert pareto_front({}) == []


def test_equal_costs_are_both_on_the_front_or_both_not() -> None:
    assert pareto_front({"a": (1.0, 1.0), "b": (1.0, 1.0), "c": (2.0, 1.0)}) == ["a", "b"]
    assert pareto_front({"a": (1.0, 1.0), "b": (2.0, 2.0), "c": (2.0, 2.0)}) == ["a"]


def test_undefined_cost_dominates_nothing() -> None:
    assert pareto_front({"a": (math.nan, 1.0), "b": (2.0, 2.0)}) == ["a", "b"]
