"""Brightness: the range of the mean grey value of the images that a model was fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from ctonnx.artifacts import json_schema

__all__ = ["BrightnessRange"]

_WHITE = 255.0
_FACTOR = 0.7  # of the darkest image's mean, and of the brightest one's distance from white


@dataclass(frozen=True, kw_only=True)
class BrightnessRange:
    """Mean grey values, 0 to 255, of the darkest and of the brightest image that a model was fitted on.

    `--intensity normalize` hides from the network, and so from its output `novelty`, how dark or bright an image is. An
    image far outside the range has another window, or comes from another source.

    Attributes:
        darkest: Smallest mean grey value of an image.
        brightest: Largest mean grey value of an image.
        images: Number of the images.
    """

    darkest: Annotated[float, json_schema.Between(0, _WHITE)]
    brightest: Annotated[float, json_schema.Between(0, _WHITE)]
    images: Annotated[int, json_schema.Between(1)]

    def __post_init__(self) -> None:
        if self.darkest > self.brightest:
            raise ValueError(f"expected the darkest image below the brightest, found {self.darkest}, {self.brightest}")

    @classmethod
    def of(cls, means: Sequence[float]) -> "BrightnessRange | None":
        """Returns the range of the mean grey values of images, or None without images."""
        if not means:
            return None
        return cls(darkest=round(min(means), 2), brightest=round(max(means), 2), images=len(means))

    def caution(self, mean: float) -> str | None:
        """Returns a warning about an image with a mean grey value far outside the range, or None.

        Far is darker than 0.7 times the darkest image, or closer to white than 0.7 times the brightest one.

        >>> BrightnessRange(darkest=33, brightest=186, images=613).caution(16)
        'the image is darker than those that the model was fitted on (mean grey 16 of 255; theirs 33 to 186)'
        """
        if mean < _FACTOR * self.darkest:
            word = "darker"
        elif _WHITE - mean < _FACTOR * (_WHITE - self.brightest):
            word = "brighter"
        else:
            return None
        return (
            f"the image is {word} than those that the model was fitted on (mean grey {mean:.0f} of 255; theirs "
            f"{self.darkest:.0f} to {self.brightest:.0f})"
        )
