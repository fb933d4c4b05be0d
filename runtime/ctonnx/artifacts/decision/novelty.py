"""Novelty: the distance of an image from the training images, in the features of the network."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts import json_schema

__all__ = ["PERCENTILES", "Novelty"]

PERCENTILES = 101
"""Number of quantiles in `Novelty.quantiles`: one for each percent, from 0 to 100."""


@dataclass(frozen=True, kw_only=True)
class Novelty:
    """Threshold of a model's `novelty` output, fitted on the validation images, or on a site's own scans.

    Attributes:
        threshold: Highest novelty that is not flagged.
        quantile: Requested share of the images, and of further ones like them, that is not flagged, 0 to 1. At least
            this share of the images is not.
        quantiles: Novelty of these images at each percentile from 0 to 100, ascending.
        images: Number of images that the threshold was fitted on.
        patients: Number of patients of these images, each of whom counts once; None if they are unknown.
        training_images: Number of training images that the distance was fitted on.
        components: Number of principal components of the features that the distance uses.
        leaked_images_used: True if it was fitted on leaked images too, as there were too few others.
    """

    threshold: Annotated[float, json_schema.Between(0)]
    quantile: Annotated[float, json_schema.Between(0, 1)]
    quantiles: tuple[float, ...]
    images: Annotated[int, json_schema.Between(0)]
    training_images: Annotated[int, json_schema.Between(0)]
    components: Annotated[int, json_schema.Between(0)]
    leaked_images_used: bool = False
    patients: Annotated[int | None, json_schema.Between(0)] = None

    def __post_init__(self) -> None:
        if len(self.quantiles) != PERCENTILES or list(self.quantiles) != sorted(self.quantiles):
            raise ValueError(f"expected {PERCENTILES} ascending quantiles of the novelty, found {len(self.quantiles)}")

    @property
    def independent(self) -> int:
        """Number of independent units: patients, or images where the patients are unknown."""
        return self.images if self.patients is None else self.patients

    @property
    def percentile(self) -> float:
        """Percentage of the images that are less novel than the threshold: the highest that is not flagged.

        It is above 100 times `quantile`, as the threshold must also hold for further images.
        """
        return float(self.percentiles(np.array([self.threshold]))[0])

    def flags(self, novelty: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Returns a flag for each image that is unlike the training images: bool [images]. A NaN is flagged."""
        flagged: NDArray[np.bool_] = ~(novelty <= np.float32(self.threshold))
        return flagged

    def percentiles(self, novelty: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Returns the percentage of the fitted images that are less novel than each image: float64 [images]."""
        percent = np.linspace(0.0, 100.0, PERCENTILES)
        found: NDArray[np.float64] = np.interp(novelty.astype(np.float64), self.quantiles, percent)
        return found
