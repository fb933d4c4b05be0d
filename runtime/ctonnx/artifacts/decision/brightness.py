"""Brightness: the range of the mean grey value of the images that a model was fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ctonnx.artifacts import json_schema

__all__ = ["BrightnessRange"]

_WHITE = 255.0
_PERCENTILES = (1, 99)  # one image that is nearly black does not widen the range
_FACTOR = 0.65  # of the dark end, and of the distance of the bright end from white


@dataclass(frozen=True, kw_only=True)
class BrightnessRange:
    """Range of the mean grey values, 0 to 255, of the images that a model's decision was fitted on.

    `--intensity normalize` hides from the network, and so from its output `novelty`, how dark or bright an image is. An
    image far outside the range has another window, or comes from another source.

    Attributes:
        low: 1st percentile of the images' mean grey values.
        high: 99th percentile of the images' mean grey values.
        images: Number of the images.
    """

    low: Annotated[float, json_schema.Between(0, _WHITE)]
    high: Annotated[float, json_schema.Between(0, _WHITE)]
    images: Annotated[int, json_schema.Between(1)]

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(
                f"expected the low end of the brightness below the high one, found {self.low}, {self.high}"
            )

    @classmethod
    def of(cls, means: Sequence[float]) -> "BrightnessRange | None":
        """Returns the range of the mean grey values of images, or None without images."""
        if not means:
            return None
        low, high = (round(float(end), 2) for end in np.percentile(means, _PERCENTILES))
        return cls(low=low, high=high, images=len(means))

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest mean grey value without a warning.

        They are 0.65 times `low`, and the value whose distance from white is 0.65 times that of `high`.

        >>> BrightnessRange(low=30, high=155, images=613).limits
        (19.5, 190.0)
        """
        return _FACTOR * self.low, _WHITE - _FACTOR * (_WHITE - self.high)

    def caution(self, mean: float) -> str | None:
        """Returns a warning about an image with a mean grey value beyond the limits, or None.

        >>> BrightnessRange(low=33, high=186, images=613).caution(16)
        'far darker than the images that the model was fitted on: mean grey 16 of 255, theirs 33 to 186'
        """
        lowest, highest = self.limits
        if lowest <= mean <= highest:
            return None
        word = "darker" if mean < lowest else "brighter"
        return (
            f"far {word} than the images that the model was fitted on: mean grey {mean:.0f} of 255, theirs "
            f"{self.low:.0f} to {self.high:.0f}"
        )

    def sentence(self) -> str:
        """Returns the limits in words.

        >>> BrightnessRange(low=30, high=155, images=613).sentence()
        'its mean grey is below 20 or above 190 of 255'
        """
        lowest, highest = self.limits
        return f"its mean grey is below {lowest:.0f} or above {highest:.0f} of 255"
