"""McNemar's test of two classifiers on the same images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

__all__ = ["mcnemar"]


def mcnemar(
    first: NDArray[np.floating[Any]], second: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]
) -> dict[str, Any]:
    """Returns McNemar's exact test of the difference between two accuracies.

    The test uses the images that exactly one of the classifiers gets right. If the two were equally good, these images
    would be split like coin tosses (McNemar 1947, https://doi.org/10.1007/BF02295996; exact by the binomial
    distribution, two-sided). Both give probabilities, [images, classes], with the same classes in the same order.

    Returns:
        `only_first_right`, `only_second_right` (numbers of images) and `p_value`.
    """
    right = first.argmax(axis=1) == labels, second.argmax(axis=1) == labels
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    differing = only_first + only_second
    return {
        "only_first_right": only_first,
        "only_second_right": only_second,
        "p_value": float(binomtest(only_first, differing).pvalue) if differing else 1.0,
    }
