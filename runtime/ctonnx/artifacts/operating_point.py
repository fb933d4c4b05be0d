"""The operating point: the threshold at which an image is called suspicious."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts import json_schema

__all__ = ["OperatingPoint", "suspicion"]


def suspicion(
    probabilities: NDArray[np.floating[Any]], classes: Sequence[str], positive: Sequence[str]
) -> NDArray[np.float64]:
    """Returns the sum of the positive classes' probabilities for each image: float64 [images], 0 to 1.

    Args:
        probabilities: [images, classes]; taken as float32, which exported models give.
        classes: Names of its columns.
        positive: Those that count as suspicious.
    """
    columns = [classes.index(name) for name in positive]
    sums: NDArray[np.float64] = probabilities[:, columns].astype(np.float32).sum(axis=1, dtype=np.float64)
    return sums


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """Where the model calls an image suspicious.

    Attributes:
        positive: Names of the classes that count as suspicious.
        threshold: Smallest sum of their probabilities that is called suspicious.
        sensitivity: Measured at the threshold on the validation images that it was fitted on, 0 to 1.
        specificity: Measured there too, 0 to 1.
        target_sensitivity: that was asked for.
        sensitivity_interval: 95 %, from low to high.
        specificity_interval: 95 %, from low to high.
        sensitivity_bound: One-sided 95 % Clopper-Pearson lower bound of the sensitivity.
        positive_images: Number of suspicious validation images that it was fitted on.
        negative_images: Number of other validation images that it was fitted on.
        leaked_images: Number of validation images with a copy, or an image of their group, in the training set.
        leaked_images_used: True if it was fitted on these too, as there were too few others.
        gap: Highest score below the threshold and lowest positive score above it, 0 to 1.
    """

    positive: tuple[str, ...]
    threshold: float
    sensitivity: float
    specificity: float
    target_sensitivity: float | None = None
    sensitivity_interval: tuple[float, float] | None = None
    specificity_interval: tuple[float, float] | None = None
    sensitivity_bound: Annotated[float | None, json_schema.Between(0, 1)] = None
    positive_images: Annotated[int | None, json_schema.Between(0)] = None
    negative_images: Annotated[int | None, json_schema.Between(0)] = None
    leaked_images: Annotated[int, json_schema.Between(0)] = 0
    leaked_images_used: bool = False
    gap: tuple[float, float] | None = None

    @property
    def figures(self) -> str:
        """Sensitivity and specificity with their 95 % intervals, as far as these are known, for people."""
        shown = []
        for name in ("sensitivity", "specificity"):
            interval = getattr(self, f"{name}_interval")
            shown.append(
                f"{name} {getattr(self, name):.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
            )
        return ", ".join(shown)

    def calls(self, probabilities: NDArray[np.floating[Any]], classes: Sequence[str]) -> NDArray[np.bool_]:
        """Returns for each image whether it is called suspicious: bool [images].

        Args:
            probabilities: [images, classes].
            classes: Names of its columns.
        """
        return suspicion(probabilities, classes, self.positive) >= self.threshold

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "OperatingPoint":
        """Reads what a JSON document holds; fields of a later release are passed over.

        Raises:
            ValueError: it does not hold an operating point.
        """
        return json_schema.read(cls, values, "operating_point")
