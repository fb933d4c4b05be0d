"""Novelty: the distance from the training images, and the threshold above which an image is unlike them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA

from ctonnx.artifacts.caveats import images_to_promise
from ctonnx.artifacts.decision.novelty import PERCENTILES, Novelty
from ctonnx_train.evaluation.fitting.prediction_sets import conformal_rank

__all__ = ["COMPONENTS", "fit_distance", "fit_threshold"]

COMPONENTS = 64
"""Maximum number of principal components of the features."""

_LEAST_SPREAD = 0.1  # of a feature, relative to the median: one that hardly varies would outweigh all others
_LEAST_VARIANCE = {"features": 1e-3, "thumbnail": 0.1}
"""Added to the variance of each component, where a feature or a cell has 1 on average. Rounding errors of float32 stay
far below; and cells that hardly vary, as at the borders, do not outweigh the features."""

_LEAST_TYPICAL = 0.5  # of a class, relative to all images: a class of one or two images lies close to its own mean

_MARGIN = 0.05  # by which the threshold exceeds the highest novelty, if no image is above it


def fit_distance(
    features: NDArray[np.floating[Any]], cells: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]
) -> dict[str, NDArray[np.float32]] | None:
    """Fits the arrays of `ctonnx_train.network.novelty.NoveltyDistance` to training images.

    The features are standardized and projected on their principal components, at most 64 and fewer than there are
    images within their classes. Features and thumbnails have a mean for each class, and one covariance of what remains
    within the classes, estimated by Ledoit and Wolf's shrinkage. A class that varies more than the others, for example
    because its images come from several sources, has the same covariance times a factor: its distances are divided by
    their median over its training images.

    Args:
        features: Pooled features [images, features] of the network for training images, each once.
        cells: Their thumbnails [images, 64], from `ctonnx_train.network.thumbnail`.
        labels: Class index of each image.

    Returns:
        The arrays, or None if there are too few images, or they are all alike.

    Sources: Lee et al. 2018, https://arxiv.org/abs/1807.03888 (distance in the features); Ledoit and Wolf 2004,
    https://doi.org/10.1016/S0047-259X(03)00096-4.
    """
    present = np.unique(labels)
    components = min(COMPONENTS, len(labels) - len(present), features.shape[1])
    deviations = features.std(axis=0, dtype=np.float64)
    if components < 1 or not deviations.any() or not cells.std(axis=0).any():
        return None
    typical = float(np.median(deviations[deviations > 0]))
    scale = np.sqrt(deviations**2 + (_LEAST_SPREAD * typical) ** 2)
    shift = features.mean(axis=0, dtype=np.float64)
    projection = PCA(components, svd_solver="full").fit((features - shift) / scale).components_.T / scale[:, None]
    middle = cells.mean(axis=0, dtype=np.float64)
    grey = np.eye(cells.shape[1]) / np.sqrt(cells.var(axis=0, dtype=np.float64).mean())
    parts = {"features": (features, shift, projection), "thumbnail": (cells, middle, grey)}
    arrays: dict[str, NDArray[np.floating[Any]]] = {}
    own = np.zeros(len(labels))  # distance of each image from the mean of its class
    for part, (values, center, weight) in parts.items():
        projected = (values - center) @ weight
        means = np.stack([projected[labels == label].mean(axis=0) for label in present])
        within = projected - means[np.searchsorted(present, labels)]
        covariance = LedoitWolf(assume_centered=True).fit(within).covariance_
        covariance = covariance + _LEAST_VARIANCE[part] * np.eye(len(covariance))
        whitening = np.linalg.cholesky(np.linalg.inv(covariance))
        own += ((within @ whitening) ** 2).sum(axis=1)
        arrays |= {f"{part}.shift": center, f"{part}.weight": weight @ whitening, f"{part}.means": means @ whitening}
    medians = np.array([np.median(own[labels == label]) for label in present])
    arrays["typical"] = np.maximum(medians, _LEAST_TYPICAL * np.median(own))
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def fit_threshold(
    novelty: NDArray[np.floating[Any]],
    leaked: NDArray[np.bool_] | None = None,
    *,
    quantile: float = 0.95,
    training_images: int,
    components: int,
    groups: Sequence[int] | NDArray[np.integer[Any]] | None = None,
) -> Novelty:
    """Fits the threshold on the novelty [images] of the validation images, at least one.

    It is a conformal quantile: at least the share `quantile` of further images from where these come from is not
    flagged, if they are exchangeable. Of n images, that is the value of rank (n + 1) * quantile, rounded up; if this
    exceeds n, as for fewer than 19 images at 0.95, the highest value and no promise. The threshold is the middle
    between this value and the next, or 5 % above the highest, so that rounding flags no image that it was fitted on.

    Args:
        novelty: Novelty of the validation images.
        leaked: Images with a copy, or an image of their group, in the training set; they are left out unless fewer than
            the quantile needs would remain.
        quantile: Share of the images that are not flagged, above 0 and below 1.
        training_images: Number of images that the distance was fitted on, for the result.
        components: Number of components of the features, for the result.
        groups: Numbers of the images' groups, such as patients, who then count once each: the promise holds for images
            of further groups; see `ctonnx_train.evaluation.fitting.prediction_sets`.

    Source: Angelopoulos and Bates 2021, https://arxiv.org/abs/2107.07511, section 1.
    """
    units = np.arange(len(novelty)) if groups is None else np.asarray(groups)
    used = np.ones(len(novelty), bool) if leaked is None else ~leaked
    most = len(np.unique(units))
    has_enough = len(np.unique(units[used])) >= min(images_to_promise(quantile) or most, most)
    if not has_enough:
        used[:] = True
    values = np.sort(novelty[used].astype(np.float64))
    rank = conformal_rank(novelty[used].astype(np.float64), units[used], quantile)
    is_inside = rank is not None and rank + 1 < len(values)
    threshold = values[rank : rank + 2].mean() if rank is not None and is_inside else values[-1] * (1 + _MARGIN)
    return Novelty(
        threshold=float(threshold),
        quantile=quantile,
        quantiles=tuple(np.quantile(values, np.linspace(0, 1, PERCENTILES)).tolist()),
        images=len(values),
        training_images=training_images,
        components=components,
        leaked_images_used=not has_enough,
        patients=None if groups is None else len(np.unique(units[used])),
    )
