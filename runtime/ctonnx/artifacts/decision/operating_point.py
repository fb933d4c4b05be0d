"""The operating point: the threshold at which an image is called suspicious."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts import json_schema
from ctonnx.parity.rounding import cautious

__all__ = ["OperatingPoint", "suspicion"]

_ROUNDING = 1e-5  # float32 probabilities may sum to slightly more than 1


def suspicion(
    probabilities: NDArray[np.floating[Any]], classes: Sequence[str], positive: Sequence[str]
) -> NDArray[np.float64]:
    """Returns the score of each image, the sum of its positive classes' probabilities: float64 [images], 0 to 1.

    The probabilities [images, classes] are converted to float32, the type of an exported model's outputs.
    """
    columns = [classes.index(name) for name in positive]
    sums: NDArray[np.float64] = probabilities[:, columns].astype(np.float32).sum(axis=1, dtype=np.float64)
    return sums


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """Threshold at which an image is called suspicious, with its sensitivity and specificity.

    Attributes:
        positive: Names of the classes that count as suspicious.
        threshold: Lowest score that is called suspicious.
        sensitivity: Sensitivity on the images that the threshold was fitted on, 0 to 1: the validation images,
            or after a recalibration a site's scans.
        specificity: Specificity on the same images, 0 to 1.
        target_sensitivity: Sensitivity that the threshold was fitted to reach.
        sensitivity_interval: 95 % interval, from low to high.
        specificity_interval: 95 % interval, from low to high.
        sensitivity_bound: One-sided 95 % Clopper-Pearson lower bound of the sensitivity. Where the patients are known,
            it and the intervals are those of the effective number of images if a patient's were all alike.
        positive_images: Number of suspicious images that it was fitted on.
        negative_images: Number of other images that it was fitted on.
        leaked_images: Number of validation images with a copy, or an image of their group, in the training set.
        leaked_images_used: True if it was fitted on these too, as there were too few others.
        positive_patients: Number of patients of the suspicious images; None if the patients are unknown.
        negative_patients: Number of patients of the other images; None if the patients are unknown.
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
    positive_patients: Annotated[int | None, json_schema.Between(0)] = None
    negative_patients: Annotated[int | None, json_schema.Between(0)] = None
    gap: tuple[float, float] | None = None

    @property
    def metrics_text(self) -> str:
        """Sensitivity and specificity, with their 95 % intervals if known, for messages; never rounded up."""
        return ", ".join(
            f"{name} {cautious(getattr(self, name), getattr(self, f'{name}_interval'))}"
            for name in ("sensitivity", "specificity")
        )

    def calls(self, probabilities: NDArray[np.floating[Any]], classes: Sequence[str]) -> NDArray[np.bool_]:
        """Returns for each image whether it is called suspicious, bool [images], by probabilities [images, classes]."""
        return suspicion(probabilities, classes, self.positive) >= self.threshold

    def validate(self, classes: Sequence[str]) -> None:
        """Validates the values, and the positive classes with those of the model.

        Raises:
            ValueError: If the positive classes are not unique, unknown, or all classes, or a value is out of range.
        """
        positive = set(self.positive)
        # A class named twice would count twice in the score, and a score of all classes is always 1.
        if not positive or len(positive) < len(self.positive) or not positive < set(classes):
            raise ValueError(
                f"expected positive classes, each once and not all, of {json_schema.shown(classes)}, found "
                f"{json_schema.shown(self.positive)}"
            )
        if not math.isfinite(self.threshold):
            raise ValueError(f"expected a threshold that is a number, found {self.threshold!r}")
        for name in ("threshold", "sensitivity", "specificity", "target_sensitivity"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1 + _ROUNDING:
                raise ValueError(f"expected a {name} from 0 to 1, found {value!r}")
        for name in ("sensitivity_interval", "specificity_interval"):
            interval = getattr(self, name)
            if interval is not None and not 0 <= interval[0] <= interval[1] <= 1:
                raise ValueError(f"expected a {name} from low to high, 0 to 1, found {list(interval)}")
        if self.gap is not None and not 0 <= self.gap[0] <= self.gap[1] <= 1 + _ROUNDING:
            raise ValueError(f"expected a gap from low to high, 0 to 1, found {list(self.gap)}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "OperatingPoint":
        """Reads an operating point from a JSON document. Unknown fields, such as those of a later release, are ignored.

        Raises:
            ValueError: If the document is not an operating point.
        """
        return json_schema.read(cls, values, "operating_point")
