"""Fits the prediction sets on the validation images: split conformal prediction, each class by itself."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.prediction_sets import PredictionSets, conformity

__all__ = ["COVERAGE", "fit_prediction_sets"]

COVERAGE = 0.95
"""Default coverage of each class."""

_EXACT = 9  # decimals of (images + 1) * coverage, so that 20 * 0.95 is 19


def fit_prediction_sets(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: Sequence[str],
    coverage: float,
    *,
    positive: Sequence[str] = (),
    leaked: NDArray[np.bool_] | None = None,
) -> PredictionSets | None:
    """Returns the prediction sets whose coverage of each class reaches a target on images of the same origin.

    The nonconformity of an image is 1 - c, where c is the `conformity` of its own class with it. With n images of a
    class, the k-th smallest nonconformity, k = ceil((n + 1) * coverage), is the highest with which the class is in a
    set: a new image has its own class in its set with a probability of k / (n + 1) or more. If k is above n, the images
    are too few, and one odd image among them would decide. Then the class has the value that all images together have
    by the same rule, as if they were of one class, and nothing is promised for it (Ding et al. 2023); see
    `PredictionSets.short_of_images`.

    The probabilities, [images, classes], are those of the validation images after the temperature. They are converted
    to float32, the type of an exported model's outputs, and compared as they are: 1 - c would lose all digits of values
    near 0. `positive` are the suspicious classes, if there are any. Images that are True in `leaked`, [images], have a
    copy, or an image of their group, in the training set; they are left out unless a class would have no image without
    them.

    Returns:
        The prediction sets, or None if a class has no image at all.

    Raises:
        ValueError: If the coverage is not between 0 and 1.

    Source: Vovk 2012, https://arxiv.org/abs/1209.2673; Angelopoulos and Bates 2021, https://arxiv.org/abs/2107.07511;
    Ding et al. 2023, https://arxiv.org/abs/2306.09335 (classes with few images)
    """
    if not 0 < coverage < 1:
        raise ValueError(f"expected a coverage between 0 and 1, found {coverage!r}")
    used = np.ones(len(labels), bool) if leaked is None else ~leaked
    has_all = set(range(len(classes))) <= set(labels[used].tolist())
    if not has_all:
        used[:] = True
    values = conformity(probabilities, classes, positive)
    own = values[np.arange(len(labels)), labels]  # the conformity of each image's own class
    together = _lowest(own[used], coverage)
    if together is None and used.any():
        together = float(own[used].min())
    lowest, images = dict[str, float](), dict[str, int]()
    for index, name in enumerate(classes):
        found = own[used & (labels == index)]
        if not len(found) or together is None:
            return None
        of_class = _lowest(found, coverage)
        lowest[name], images[name] = together if of_class is None else of_class, len(found)
    return PredictionSets(
        coverage=coverage,
        lowest=lowest,
        images=images,
        positive=tuple(positive),
        leaked_images_used=leaked is not None and bool(leaked.any()) and not has_all,
    )


def _lowest(conformities: NDArray[np.float32], coverage: float) -> float | None:
    """Returns the lowest conformity in a set, or None if the images, [images], are too few for the coverage."""
    rank = math.ceil(round((len(conformities) + 1) * coverage, _EXACT))
    if rank > len(conformities):
        return None
    return float(np.sort(conformities)[::-1][rank - 1])  # in the order of rising nonconformity
