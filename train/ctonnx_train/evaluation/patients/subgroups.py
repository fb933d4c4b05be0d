"""Metrics of groups of patients, such as those of one scanner, and tests whether they differ beyond chance."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx_train.evaluation.statistics.shares import share_of

__all__ = ["PERMUTATIONS", "SMALLEST", "permutation_test", "subgroup_metrics", "values_of_patients"]

SMALLEST = 20
"""Smallest number of patients of a group whose metrics are shown."""

PERMUTATIONS = 10_000
"""Default number of permutations of a test."""

_NAMED = 5  # patients: a rarer value may identify one, and is counted without its name
_MOST_NUMBERS = 6  # different numbers, such as slice thicknesses, that are groups of their own; more are cut in three
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*Y?")  # 063Y is an age in DICOM
_SEVERAL = "several"


def values_of_patients(rows: Sequence[NDArray[np.intp]], values: Sequence[str | None]) -> list[str | None]:
    """Returns the value of each patient, from those of its slices: None if unknown, `several` if they differ.

    Numbers with more than six different values, such as ages, are cut in three at their terciles.
    """
    found: list[str | None] = []
    for of in rows:
        own = {value for row in of if (value := values[row])}
        found.append(None if not own else own.pop() if len(own) == 1 else _SEVERAL)
    numbers = {value: _NUMBER.fullmatch(value) for value in found if value not in (None, _SEVERAL)}
    if len(numbers) <= _MOST_NUMBERS or not all(numbers.values()):
        return found
    known = {value: float(match[1]) for value, match in numbers.items() if match}
    low, high = np.quantile([known[value] for value in found if value in known], [1 / 3, 2 / 3], method="higher")
    titles = (f"below {low:g}", f"{low:g} to below {high:g}", f"{high:g} or more")
    cut = {value: titles[int(number >= low) + int(number >= high)] for value, number in known.items()}
    return [cut.get(value, value) if value else None for value in found]


def subgroup_metrics(
    subgroups: Mapping[str, Sequence[str | None]],
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: Sequence[str],
    point: OperatingPoint | None,
    *,
    groups: Sequence[int] | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Returns metrics of the groups of at least 20 patients, and tests of their differences, as a dictionary.

    A test compares the sensitivity of a class, or the sensitivity or specificity at the operating point, between the
    groups of one kind: see `permutation_test`. With an operating point and two classes, the latter are all. The
    p-values are adjusted for the number of all tests (Holm 1979, https://www.jstor.org/stable/4615733).

    Args:
        subgroups: Value of each patient by the name of the subgroup, such as `sex`; None where it is unknown.
        probabilities: Probabilities of the patients, [patients, classes].
        labels: Class index of each patient.
        classes: Class names.
        point: Operating point of patients, if there is one.
        groups: Number of each patient's group, such as those who share a copy of a slice: the intervals are those of
            the effective number of patients, and the tests take the first patient of each group. None if all are
            independent.
        permutations: Number of permutations of each test.
        seed: Random seed of the permutations.

    Returns:
        None without subgroups; else `smallest`, `tests` (their number), `permutations`, and in `by`, for each
        subgroup, `values` (for each value `patients` and the shares), `too_small` (patients by value; values of fewer
        than five patients are counted together, without their names), `unknown` (patients) and `tests` (`difference`,
        `p_value` and `adjusted_p_value` by measure).
    """
    if not subgroups:
        return None
    random = np.random.default_rng(seed)
    measures = _measures(probabilities, labels, classes, point)
    units = np.arange(len(labels)) if groups is None else np.asarray(groups)
    is_first = np.zeros(len(labels), bool)
    is_first[np.unique(units, return_index=True)[1]] = True
    by: dict[str, Any] = {}
    for name, values in subgroups.items():
        counts = Counter(value for value in values if value is not None)
        large = sorted((value for value, count in counts.items() if count >= SMALLEST), key=_place)
        small = {value: count for value, count in sorted(counts.items()) if _NAMED <= count < SMALLEST}
        rare = [count for count in counts.values() if count < _NAMED]
        group = np.array([large.index(value) if value in large else -1 for value in values], int)
        by[name] = {
            "values": {
                value: {
                    "patients": counts[value],
                    **{
                        measure: _share(right[of & (group == place)], units[of & (group == place)])
                        for measure, (of, right) in measures.items()
                    },
                }
                for place, value in enumerate(large)
            },
            "too_small": small,
            "rare": {"values": len(rare), "patients": sum(rare)},
            "unknown": sum(value is None for value in values),
            "tests": {},
        }
        for measure, (of, right) in measures.items():
            chosen = of & (group >= 0) & is_first
            found = permutation_test(right[chosen], group[chosen], permutations=permutations, random=random)
            if found is not None:
                by[name]["tests"][measure] = found
    tests = [test for found in by.values() for test in found["tests"].values()]
    for test, adjusted in zip(tests, _holm([test["p_value"] for test in tests]), strict=True):
        test["adjusted_p_value"] = adjusted
    return {"smallest": SMALLEST, "tests": len(tests), "permutations": permutations, "seed": seed, "by": by}


def permutation_test(
    right: NDArray[np.bool_], groups: NDArray[np.integer[Any]], *, permutations: int, random: np.random.Generator
) -> dict[str, float] | None:
    """Tests whether the share of right predictions differs between groups of patients beyond chance.

    The statistic is the largest difference of a group's share from that of all, in its standard deviations. It is
    compared with that of groups of the same sizes that are drawn by chance: the right ones among them follow a
    multivariate hypergeometric distribution. The p-value counts the observed groups as one of the permutations
    (Phipson and Smyth 2010, https://doi.org/10.2202/1544-6115.1585).

    Returns:
        `difference`, of the highest and the lowest share, and `p_value`; None if there are fewer than two groups, or
        all predictions, or none, are right.
    """
    sizes = np.unique(groups, return_counts=True)[1]
    hits, patients = int(right.sum()), len(right)
    if len(sizes) < 2 or hits in (0, patients):
        return None
    own = np.array([right[groups == group].sum() for group in np.unique(groups)])
    drawn = random.multivariate_hypergeometric(sizes, hits, size=permutations)
    share = hits / patients
    deviations = np.sqrt(share * (1 - share) * (1 / sizes - 1 / patients))

    def statistic(found: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        distances: NDArray[np.float64] = (np.abs(found / sizes - share) / deviations).max(axis=-1)
        return distances.round(9)  # equal ones differ by rounding errors

    reached = int((statistic(drawn) >= statistic(own)).sum())
    shares = own / sizes
    return {
        "difference": round(float(shares.max() - shares.min()), 6),
        "p_value": (reached + 1) / (permutations + 1),
    }


def _place(value: str) -> tuple[bool, float, str]:
    """Returns the sort key of a value: those that were cut are in the order of their numbers."""
    number = re.search(r"\d+(\.\d+)?", value)
    return not value.startswith("below "), float(number[0]) if number else 0.0, value


def _measures(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: Sequence[str],
    point: OperatingPoint | None,
) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Returns for each measure the patients that it is a share of, and those that are right: bool [patients]."""
    predicted = probabilities.argmax(axis=1)
    found = {}
    if point is not None:
        called = point.calls(probabilities, classes)
        is_positive = np.isin(labels, [classes.index(name) for name in point.positive])
        found = {"suspicious": (is_positive, called), "not suspicious": (~is_positive, ~called)}
    if point is not None and len(classes) == 2:
        return found
    found |= {f"class {name}": (labels == index, predicted == index) for index, name in enumerate(classes)}
    return found


def _share(right: NDArray[np.bool_], units: NDArray[np.integer[Any]]) -> dict[str, Any]:
    found = share_of(right, units)
    return {"value": found["value"], "interval": found["interval"], "patients": found["images"]}


def _holm(p_values: Sequence[float]) -> list[float]:
    """Returns the p-values adjusted for their number: Holm's step-down procedure."""
    order = np.argsort(p_values, kind="stable")
    steps = np.array(p_values)[order] * (len(p_values) - np.arange(len(p_values)))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(p_values) else steps
    return [round(float(value), 6) for value in adjusted]
