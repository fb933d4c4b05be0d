"""What an answer should be doubted for: images that are read, and that no model should be believed about.

The network answers whatever it is given, as sure of itself as ever. A caution is no error: the answer stands beside it.
"""

import numpy as np
from numpy.typing import NDArray

from ctonnx.images import Preprocessing
from ctonnx.images.preprocessing import place
from ctonnx.images.scan import Scan

__all__ = ["caution_of"]

_BLANK = "the image is blank: one value everywhere"


def caution_of(scan: Scan, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> str | None:
    """Returns why an answer should be doubted, or None where nothing is known against it.

    Args:
        scan: Decoded image.
        pixels: what `ctonnx.images.to_pixels` makes of it.
        preprocessing: that it was made with.
    """
    found = [_BLANK] * _is_blank(scan.size, pixels, preprocessing)
    if scan.caution:  # of a DICOM file, or one with pages
        found.append(scan.caution)
    return "; ".join(found) or None


def _is_blank(size: tuple[int, int], pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> bool:
    left, top, width, height = place(size, preprocessing)
    seen = pixels[top : top + height, left : left + width]
    first = seen[0, 0]
    # Scans have a line in the middle that is not of one value: few are looked at as a whole.
    return bool((seen[height // 2] == first).all() and (seen[:, width // 2] == first).all() and (seen == first).all())
