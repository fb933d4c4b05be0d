"""Warnings about images that can be read but that the model should not be trusted on: blank images, localizers, ...

The network returns a prediction for any image, however unsuitable, with undiminished confidence. A warning is not an
error: it is reported next to the prediction.
"""

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.brightness import BrightnessRange
from ctonnx.images import Preprocessing
from ctonnx.images.preprocessing import place, region
from ctonnx.images.scan import Scan

__all__ = ["caution_of"]

_BLANK = "the image is blank: one value everywhere"


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
    left, top, right, bottom = region(scan.image, preprocessing)
    width, height = scan.size
    size = round((right - left) * width), round((bottom - top) * height)  # of the part that the crop left
    if _is_blank(size, pixels, preprocessing):
        seen: str | None = _BLANK
    else:
        seen = None if brightness is None else brightness.caution(scan.mean_grey())
    return "; ".join(filter(None, (seen, scan.caution))) or None


def _is_blank(size: tuple[int, int], pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> bool:
    left, top, width, height = place(size, preprocessing)
    seen = pixels[top : top + height, left : left + width]
    first = seen[0, 0]
    # The middle row or column of most scans is not constant, so that few are compared as a whole.
    return bool((seen[height // 2] == first).all() and (seen[:, width // 2] == first).all() and (seen == first).all())
