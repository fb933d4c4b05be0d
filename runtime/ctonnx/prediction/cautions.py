"""Warnings about images that can be read but that the model should not be trusted on: blank images, localizers, ...

The network returns a prediction for any image, however unsuitable, with undiminished confidence. A warning is not an
error: it is reported next to the prediction, and the image is referred.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.brightness import BrightnessRange
from ctonnx.images import Preprocessing
from ctonnx.images.preprocessing import place, region
from ctonnx.images.scan import Scan

__all__ = ["Impression", "brightness_of", "caution_of", "impression_of"]

_BLANK = "the image is blank: one value everywhere"


class Impression(NamedTuple):
    """The look of a decoded image, without a network.

    Attributes:
        caution: Warning about the image, whatever the model was fitted on, or None.
        mean_grey: Mean grey value, 0 to 255, of the part that the model is given; None if the image is blank.
        size: Width and height of the image; None if unknown.
    """

    caution: str | None
    mean_grey: float | None
    size: tuple[int, int] | None = None

    def caution_of(self, brightness: BrightnessRange | None) -> str | None:
        """Returns the warning of a model that was fitted on images with this range of brightness, or None."""
        seen = None if brightness is None or self.mean_grey is None else brightness.caution(self.mean_grey)
        return "; ".join(filter(None, (seen, self.caution))) or None


def impression_of(scan: Scan, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> Impression:
    """Returns the impression of a decoded image, whose pixels are those of `ctonnx.images.to_pixels`."""
    seen = region(scan.image, preprocessing)
    left, top, right, bottom = seen
    width, height = scan.size
    size = round((right - left) * width), round((bottom - top) * height)  # of the part that the crop left
    if _is_blank(size, pixels, preprocessing):
        return Impression("; ".join(filter(None, (_BLANK, scan.caution))), None, scan.size)
    return Impression(scan.caution, scan.mean_grey(seen), scan.size)


def caution_of(
    scan: Scan, pixels: NDArray[np.uint8], preprocessing: Preprocessing, brightness: BrightnessRange | None
) -> str | None:
    """Returns a warning about a decoded image, or None.

    Args:
        scan: The image.
        pixels: Its pixels from `ctonnx.images.to_pixels`.
        preprocessing: The model's.
        brightness: Range of the images that the model was fitted on, if it knows that.
    """
    return impression_of(scan, pixels, preprocessing).caution_of(brightness)


def brightness_of(impressions: Sequence[Impression]) -> BrightnessRange | None:
    """Returns the range of the images without a warning of their own; None if all have one."""
    return BrightnessRange.of([of.mean_grey for of in impressions if of.caution is None and of.mean_grey is not None])


def _is_blank(size: tuple[int, int], pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> bool:
    left, top, width, height = place(size, preprocessing)
    seen = pixels[top : top + height, left : left + width]
    first = seen[0, 0]
    # The middle row or column of most scans is not constant, so that few are compared as a whole.
    return bool((seen[height // 2] == first).all() and (seen[:, width // 2] == first).all() and (seen == first).all())
