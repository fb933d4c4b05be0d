"""The thumbnail of an image: the mean grey of 8 x 8 cells, which shows where an image is bright or dark.

Of a high image, some rows of pixels are used: a cell is still a mean of many, and the graph reads few of the bytes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CELLS", "cell_weights", "some_rows", "thumbnails"]

CELLS = 8
"""Number of cells in height, and in width."""

_ROWS = 32  # at least so many rows of pixels are used, 4 or more for a cell


def some_rows(height: int) -> slice:
    """Returns the rows of pixels that are used of an image of this height: all below 64, else 32 to 63 of them.

    >>> some_rows(224), len(range(224)[some_rows(224)])
    (slice(None, None, 7), 32)
    """
    return slice(None, None, max(1, height // _ROWS))


def cell_weights(size: int) -> NDArray[np.float64]:
    """Returns the share of each pixel of a row in the mean of each cell: float64 [8, size]; each row's sum is 1.

    A pixel on the border of two cells counts in both.

    >>> cell_weights(12)[0].round(3).tolist()[:3]
    [0.667, 0.333, 0.0]
    """
    ends = np.arange(CELLS + 1) * size / CELLS
    places = np.arange(size)
    inside = np.minimum(ends[1:, None], places + 1) - np.maximum(ends[:-1, None], places)
    shares: NDArray[np.float64] = np.clip(inside, 0, None) * CELLS / size
    return shares


def thumbnails(pixels: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Returns the thumbnails, 0 to 255, of pixels [images, height, width, channels]: float64 [images, 64]."""
    rows = pixels[:, some_rows(pixels.shape[1])]
    height, width = rows.shape[1:3]
    cells: NDArray[np.float64] = cell_weights(height) @ rows.mean(axis=3, dtype=np.float64) @ cell_weights(width).T
    return cells.reshape(len(pixels), -1)
