"""Speedup of each case over PyTorch, or over FP32 if PyTorch was not measured, round by round."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ctonnx_bench.measurement.interleaving import paired_ratio, paired_ratios

__all__ = ["BASELINES", "times_as_fast"]

BASELINES = {"PyTorch eager": "PyTorch", "ctonnx FP32": "FP32"}
"""Contenders to compare with and their short names; the first one measured is the baseline."""


def times_as_fast(cases: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the speedup of each right case over a right baseline at the same batch size, by the case's name.

    The medians of each round are compared, as the machine's speed changes from round to round: `value` is the median of
    their ratios, `low` and `high` are their minimum and maximum, `than` is the baseline's short name.
    """
    right = [case for case in cases if not case["failures"]]
    names = {case["contender"] for case in right}
    baseline = next((name for name in BASELINES if name in names), None)
    found = {}
    for case in right:
        beside = [
            other for other in right if other["contender"] == baseline and other["batch_size"] == case["batch_size"]
        ]
        beside.sort(key=lambda other: other["bound"] != case["bound"])  # first the one with the same data transfer
        if baseline is None or not beside:
            continue
        pairs = zip(_medians(beside[0]), _medians(case), strict=False)  # a failed case has fewer rounds
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
