"""McNemar's test of two classifiers on the same images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

__all__ = ["mcnemar"]


def mcnemar(
    first: NDArray[np.floating[Any]],
    second: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    groups: Sequence[int] | NDArray[np.integer[Any]] | None = None,
) -> dict[str, Any]:
    """Returns McNemar's exact test of the difference between two accuracies.

    The test uses the images that exactly one of the classifiers gets right. If the two were equally good, these images
    would be split like coin tosses (McNemar 1947, https://doi.org/10.1007/BF02295996; exact by the binomial
    distribution, two-sided). Both give probabilities, [images, classes], with the same classes in the same order.

    With the groups of the images, such as patients, one coin is tossed for each group: it swaps the two classifiers on
    all of its images. The p-value is the share of all outcomes with a difference as large as the observed one, exact;
    if each group is one image, it is that of McNemar's test. Source: Ernst 2004,
    https://doi.org/10.1214/088342304000000396 (exact permutation tests of paired units).

    Returns:
        `only_first_right`, `only_second_right` (numbers of images) and `p_value`; with groups also `units`, the number
        of groups with a difference.
    """
    right = first.argmax(axis=1) == labels, second.argmax(axis=1) == labels
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    differing = only_first + only_second
    found: dict[str, Any] = {"only_first_right": only_first, "only_second_right": only_second}
    if groups is None:
        return found | {"p_value": float(binomtest(only_first, differing).pvalue) if differing else 1.0}
    units = np.unique(np.asarray(groups), return_inverse=True)[1]
    differences = np.bincount(units, right[0].astype(int) - right[1].astype(int)).round().astype(int)
    differences = np.abs(differences[differences != 0])
    return found | {"p_value": _swapped(differences, abs(only_first - only_second)), "units": len(differences)}


def _swapped(differences: NDArray[np.integer[Any]], observed: int) -> float:
    """Returns the probability that differences, [groups], with random signs have a sum of `observed` or more."""
    most = int(differences.sum())
    chances = np.zeros(2 * most + 1)  # of each sum from -most to most
    chances[most] = 1.0
    for difference in differences.tolist():
        chances = (np.roll(chances, difference) + np.roll(chances, -difference)) / 2  # never wraps: sums stay inside
    return min(1.0, float(chances[np.abs(np.arange(-most, most + 1)) >= observed].sum()))
