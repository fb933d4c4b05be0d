"""Two classifiers on the same images: whether one is better than chance explains, and how often they agree."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

__all__ = ["compare_answers"]


def compare_answers(
    first: NDArray[np.floating[Any]], second: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]
) -> dict[str, Any]:
    """Returns McNemar's exact test of the two accuracies, and the agreement.

    The test looks at the images that one classifier alone got right: were the two equally good, these would be split
    like coins (McNemar 1947, https://doi.org/10.1007/BF02295996; exact by the binomial distribution, two-sided).

    Args:
        first: Probabilities, [images, classes].
        second: of the other classifier, with the same classes in the same order.
        labels: Class index of each image.

    Returns:
        `images`; `agreement`, the share of images with the same most probable class; `max_dp` and `mean_dp`, the
        largest and mean absolute difference of probabilities; `accuracy_difference` (second - first); and `mcnemar`
        with `only_first_right`, `only_second_right` and `p_value`.
    """
    answers = first.argmax(axis=1), second.argmax(axis=1)
    right = answers[0] == labels, answers[1] == labels
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    differing = only_first + only_second
    difference = np.abs(first.astype(np.float64) - second)
    return {
        "images": len(labels),
        "agreement": float((answers[0] == answers[1]).mean()),
        "max_dp": float(difference.max()),
        "mean_dp": float(difference.mean()),
        "accuracy_difference": float(right[1].mean() - right[0].mean()),
        "mcnemar": {
            "only_first_right": only_first,
            "only_second_right": only_second,
            "p_value": float(binomtest(only_first, differing).pvalue) if differing else 1.0,
        },
    }
