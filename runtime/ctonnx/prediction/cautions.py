"""Warnings about images that can be read but that the model should not be trusted on: blank images, localizers, ...

The network returns a prediction for any image, however unsuitable, with undiminished confidence. A warning is not an
error: it is reported next to the prediction.
"""

import numpy as np
from numpy.typing import NDArray

from ctonnx.images import Preprocessing
from ctonnx.images.preprocessing import place, region
from ctonnx.images.scan import Scan

__all__ = ["caution_of"]

_BLANK = "the image is blank: one value everywhere"


def caution_of(scan: Scan, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> str | None:
    """Returns a warning about a decoded image, whose pixels are those of `ctonnx.images.to_pixels`, or None."""
    left, top, right, bottom = region(scan.image, preprocessing)
    width, height = scan.size
    size = round((right - left) * width), round((bottom - top) * height)  # of the part that the crop left
    found = (_BLANK if _is_blank(size, pixels, preprocessing) else None, scan.caution)
    return "; ".join(filter(None, found)) or None


def _is_blank(size: tuple[int, int], pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> bool:
    left, top, width, height = place(size, preprocessing)
    seen = pixels[top : top + height, left : left + width]
    first = seen[0, 0]
    # The middle row or column of most scans is not constant, so that few are compared as a whole.
    return bool((seen[height // 2] == first).all() and (seen[:, width // 2] == first).all() and (seen == first).all())
