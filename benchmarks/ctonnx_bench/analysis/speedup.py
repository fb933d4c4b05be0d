"""Speedup of each case over PyTorch, or over FP32 if PyTorch was not measured, round by round."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ctonnx_bench.measurement.interleaving import paired_ratio, paired_ratios

__all__ = ["BASELINES", "speedup_over", "times_as_fast"]

BASELINES = {"PyTorch eager": "PyTorch", "ctonnx FP32": "FP32"}
"""Contenders to compare with and their short names; the first one measured is the baseline."""


def times_as_fast(cases: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the speedup of each right case over the first of `BASELINES` that is right, as `speedup_over` does."""
    names = {case["contender"] for case in cases if not case["failures"]}
    baseline = next((name for name in BASELINES if name in names), None)
    return {} if baseline is None else speedup_over(cases, baseline, BASELINES[baseline])


def speedup_over(cases: Sequence[Mapping[str, Any]], contender: str, than: str) -> dict[str, dict[str, Any]]:
    """Returns the speedup of each right case over a contender at the same batch size, by the case's name.

    The medians of each round are compared, as the machine's speed changes from round to round: `value` is the median of
    their ratios, `low` and `high` are their minimum and maximum, `than` is the given short name. Nothing is compared
    with a wrong contender.
    """
    right = [case for case in cases if not case["failures"]]
    found = {}
    for case in right:
        beside = [
            other for other in right if other["contender"] == contender and other["batch_size"] == case["batch_size"]
        ]
        beside.sort(key=lambda other: other["bound"] != case["bound"])  # first the one with the same data transfer
        if not beside:
            continue
        pairs = zip(_medians(beside[0]), _medians(case), strict=False)  # a failed case has fewer rounds
        theirs, mine = zip(*pairs, strict=True)
        ratios = paired_ratios(theirs, mine)
        found[case["name"]] = {
            "than": than,
            "value": paired_ratio(theirs, mine),
            "low": min(ratios),
            "high": max(ratios),
        }
    return found


def _medians(case: Mapping[str, Any]) -> list[float]:
    return [statistics.median(item["samples_s"]) for item in case["rounds"]]
