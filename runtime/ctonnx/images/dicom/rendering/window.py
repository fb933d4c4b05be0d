"""DICOM's window functions: the range of values that becomes black to white."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["windowed"]


def windowed(values: NDArray[np.float64], center: float, width: float, function: str = "LINEAR") -> NDArray[np.uint8]:
    """Applies a window to values.

    Args:
        values: Values in the window's unit; NaN becomes 0.
        center: Middle of the window.
        width: Width of the window, above 0.
        function: `LINEAR`, `LINEAR_EXACT` or `SIGMOID`; any other is treated as `LINEAR`.

    Returns:
        Rounded grey values, 0 to 255.

    Source: DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3,
    https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.11.2.html

    >>> windowed(np.array([-1350.0, -600.5, 150.0]), -600, 1500)
    array([  0, 128, 255], dtype=uint8)
    """
    values = np.nan_to_num(values, nan=-np.finfo(float).max)
    if function == "SIGMOID":
        share = 1 / (1 + np.exp(np.clip((values - center) * (-4 / width), -50, 50)))
    elif function == "LINEAR_EXACT":
        share = (values - center) / width + 0.5
    elif width > 1:
        share = (values - (center - 0.5)) / (width - 1) + 0.5
    else:
        share = (values > center - 0.5).astype(float)
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
