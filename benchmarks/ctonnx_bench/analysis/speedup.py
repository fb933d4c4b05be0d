"""How many times as fast each case is as PyTorch, or as FP32 where PyTorch was not measured, round by round."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ctonnx_bench.measurement.interleaving import paired_ratio, paired_ratios

__all__ = ["BASELINES", "times_as_fast"]

BASELINES = {"PyTorch eager": "PyTorch", "ctonnx FP32": "FP32"}
"""Whom to compare with, and the column's word for it; the first that was measured is taken."""


def times_as_fast(cases: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns for each case, by its name, how many times as fast it is at the same batch size.

    Rounds are compared with each other, as the machine's speed changes from one to the next: `value` is the median of
    the ratios of their medians, `low` and `high` the least and the greatest of them, `than` the baseline's word.

    Args:
        cases: of the report's document.

    Returns:
        Nothing for a case whose answers are wrong, or that no baseline with right answers was measured beside.
    """
    right = [case for case in cases if not case["failures"]]
    names = {case["contender"] for case in right}
    baseline = next((name for name in BASELINES if name in names), None)
    found = {}
    for case in right:
        beside = [
            other for other in right if other["contender"] == baseline and other["batch_size"] == case["batch_size"]
        ]
        beside.sort(key=lambda other: other["bound"] != case["bound"])  # the one whose data goes the same way
        if baseline is None or not beside:
            continue
        pairs = list(zip(_medians(beside[0]), _medians(case), strict=False))  # one that failed has fewer rounds
        theirs, mine = zip(*pairs, strict=True)
        ratios = paired_ratios(theirs, mine)
        found[case["name"]] = {
            "than": BASELINES[baseline],
            "value": paired_ratio(theirs, mine),
            "low": min(ratios),
            "high": max(ratios),
        }
    return found


def _medians(case: Mapping[str, Any]) -> list[float]:
    return [statistics.median(item["samples_s"]) for item in case["rounds"]]
