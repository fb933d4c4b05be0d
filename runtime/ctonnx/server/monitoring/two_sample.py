"""Exact tests of whether two sets of counts come from one distribution, however few images there are.

If they do, which images are in the first set is chance: given the counts of both together, those of the first have a
multivariate hypergeometric distribution. The p-value is the share of such draws that differ as much or more, so that it
needs no large samples, and no other assumption than that the images are exchangeable.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["DRAWS", "p_value", "population_stability"]

DRAWS = 200_000
"""Usual maximum number of draws: the smallest p-value is one in so many."""

_FIRST = 1_000  # draws; most comparisons end after them
_ENOUGH = 10  # draws that differ as much: further ones hardly change the p-value
_GROUPS = 10  # of the population stability index

Counts = NDArray[np.int64]


def p_value(
    reference: Counts,
    window: Counts,
    kind: Literal["ordered", "categories"],
    random: np.random.Generator,
    *,
    draws: int = DRAWS,
) -> float:
    """Returns the p-value of a permutation test of two sets of counts, [bins] each.

    The statistic is Kolmogorov's and Smirnov's, the largest difference of the cumulative shares, for ordered bins, and
    chi-squared for categories. Draws end early once ten of them differ as much (Besag and Clifford 1991,
    https://doi.org/10.1093/biomet/78.2.301), so that most p-values need 1,000 of them, and the smallest `draws`. The
    result is never too small: the probability of p <= a is at most a if nothing differs.

    Raises:
        ValueError: If a set is empty.
    """
    if not reference.sum() or not window.sum():
        raise ValueError("expected images in both sets, found none in one")
    pooled = reference + window
    kept = pooled > 0
    pooled, total = pooled[kept], int(window.sum())
    found = _statistic(window[kept][None], pooled, kind)[0]
    drawn = exceeding = 0
    while drawn < draws:
        size = _FIRST if not drawn else min(draws - drawn, 20 * _FIRST)
        others = random.multivariate_hypergeometric(pooled, total, size=size, method="marginals")
        reached = _statistic(others, pooled, kind) >= found - 1e-12
        if exceeding + int(reached.sum()) >= _ENOUGH:
            last = np.flatnonzero(reached)[_ENOUGH - exceeding - 1]
            return _ENOUGH / (drawn + int(last) + 1)
        drawn, exceeding = drawn + size, exceeding + int(reached.sum())
    return (exceeding + 1) / (drawn + 1)


def _statistic(window: Counts, pooled: Counts, kind: str) -> NDArray[np.float64]:
    """Returns the statistic of each row of counts, [draws, bins], given those of both sets together, [bins]."""
    images, total = int(window[0].sum()), int(pooled.sum())
    if kind == "ordered":
        first, second = window.cumsum(axis=1) / images, (pooled - window).cumsum(axis=1) / (total - images)
        largest: NDArray[np.float64] = np.abs(first - second).max(axis=1)
        return largest
    expected = pooled * (images / total)
    squared: NDArray[np.float64] = ((window - expected) ** 2 / expected).sum(axis=1)
    return squared


def population_stability(
    reference: Counts, window: Counts, kind: Literal["ordered", "categories"]
) -> tuple[float, float]:
    """Returns the population stability index of two sets of counts, [bins] each, and its mean if nothing differs.

    It is the sum of (w - r) ln(w / r) over the shares r of the reference and w of the window. Ordered bins are joined
    to ten groups of about as many images of the reference; half an image is added to each count, so that an empty one
    is possible. From few images the index is large without any change: (groups - 1)(1 / n + 1 / m) on average, for n
    and m images (Yurdakul 2018, https://scholarworks.wmich.edu/dissertations/3208).
    """
    if kind == "ordered":
        place = np.minimum(((reference.cumsum() - reference / 2) / reference.sum() * _GROUPS).astype(int), _GROUPS - 1)
        reference, window = (np.bincount(place, counts, _GROUPS) for counts in (reference, window))
    kept = (reference + window) > 0
    r, w = (((counts[kept] + 0.5) / (counts[kept] + 0.5).sum()) for counts in (reference, window))
    by_chance = (int(kept.sum()) - 1) * (1 / reference.sum() + 1 / window.sum())
    return float(((w - r) * np.log(w / r)).sum()), float(by_chance)
