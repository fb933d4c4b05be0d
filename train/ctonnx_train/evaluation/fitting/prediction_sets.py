"""Fits the prediction sets on the validation images: split conformal prediction, each class by itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.prediction_sets import PredictionSets, conformity

__all__ = ["COVERAGE", "conformal_rank", "fit_prediction_sets"]

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
    groups: Sequence[int] | NDArray[np.integer[Any]] | None = None,
) -> PredictionSets | None:
    """Returns the prediction sets whose coverage of each class reaches a target on images of the same origin.

    The nonconformity of an image is 1 - c, where c is the `conformity` of its own class with it. With n images of a
    class, the k-th smallest nonconformity, k = ceil((n + 1) * coverage), is the highest with which the class is in a
    set: a new image has its own class in its set with a probability of k / (n + 1) or more. If k is above n, the images
    are too few, and one odd image among them would decide. Then the class has the value that all images together have
    by the same rule, as if they were of one class, and nothing is promised for it (Ding et al. 2023); see
    `PredictionSets.short_of_images`.

    With the groups of the images, such as patients, each of the n groups of a class counts once: its images share a
    weight of 1 / (n + 1), and the value is the smallest nonconformity up to which the weights sum to the coverage. Then
    an image of a new group has its own class in its set with this probability (Lee, Barber and Willett 2023). If each
    group is one image, both are the same.

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
    Ding et al. 2023, https://arxiv.org/abs/2306.09335 (classes with few images); Lee, Barber and Willett 2023,
    https://arxiv.org/abs/2306.06342 (groups)
    """
    if not 0 < coverage < 1:
        raise ValueError(f"expected a coverage between 0 and 1, found {coverage!r}")
    used = np.ones(len(labels), bool) if leaked is None else ~leaked
    has_all = set(range(len(classes))) <= set(labels[used].tolist())
    if not has_all:
        used[:] = True
    values = conformity(probabilities, classes, positive)
    own = values[np.arange(len(labels)), labels]  # the conformity of each image's own class
    units = np.arange(len(labels)) if groups is None else np.asarray(groups)
    together = _lowest(own[used], units[used], coverage)
    if together is None and used.any():
        together = float(own[used].min())
    lowest, images, independent = dict[str, float](), dict[str, int](), dict[str, int]()
    for index, name in enumerate(classes):
        chosen = used & (labels == index)
        if not chosen.any() or together is None:
            return None
        of_class = _lowest(own[chosen], units[chosen], coverage)
        lowest[name], images[name] = together if of_class is None else of_class, int(chosen.sum())
        independent[name] = len(np.unique(units[chosen]))
    return PredictionSets(
        coverage=coverage,
        lowest=lowest,
        images=images,
        positive=tuple(positive),
        leaked_images_used=leaked is not None and bool(leaked.any()) and not has_all,
        patients=None if groups is None else independent,
    )


def _lowest(conformities: NDArray[np.float32], units: NDArray[np.integer[Any]], coverage: float) -> float | None:
    """Returns the lowest conformity in a set, or None if the images, [images], are too few for the coverage."""
    rank = conformal_rank(-conformities, units, coverage)
    return None if rank is None else float(np.sort(conformities)[::-1][rank])  # in the order of rising nonconformity


def conformal_rank(values: NDArray[np.floating[Any]], units: NDArray[np.integer[Any]], share: float) -> int | None:
    """Returns the place of the conformal quantile among ascending values, from 0; None if the units are too few.

    Args:
        values: Values, [images].
        units: Number of the unit of each image, such as its patient; each unit counts once.
        share: Share of further values that are not above the quantile, 0 to 1.
    """
    numbers, counts = np.unique(units, return_inverse=True, return_counts=True)[1:]
    order = np.argsort(values, kind="stable")
    sums = np.cumsum(1 / counts[numbers[order]])
    reached = sums.round(_EXACT) >= round((len(counts) + 1) * share, _EXACT)
    return int(reached.argmax()) if reached.any() else None
