"""A decoded image, with a warning about it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Scan"]

_GRID = 64


@dataclass(frozen=True)
class Scan:
    """Decoded image that `np.asarray` turns into a uint8 array, [height, width] or [height, width, 3].

    Attributes:
        image: Pillow image of mode `L` or `RGB`.
        caution: Warning that a model should not be trusted on this image, such as a localizer's; else None.
    """

    image: Image.Image
    caution: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.image.size

    @property
    def mode(self) -> str:
        """`L` or `RGB`."""
        return self.image.mode

    def mean_grey(self, part: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)) -> float:
        """Returns the mean grey value, 0 to 255, measured at 64 x 64 of the pixels.

        Args:
            part: Left, top, right and bottom of the part to measure, as shares of the width and height.
        """
        left, top, right, bottom = part
        box = left * self.image.width, top * self.image.height, right * self.image.width, bottom * self.image.height
        few = self.image.resize((_GRID, _GRID), Image.Resampling.NEAREST, box)
        return float(np.asarray(few.convert("L")).mean())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.image, dtype, copy=copy)
