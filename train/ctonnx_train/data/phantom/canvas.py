"""Canvas of a slice, painted in Hounsfield units and in the patient's axes, and the curves that are painted on it."""

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ctonnx_train.data.phantom.drift import Draws

__all__ = ["HU_STEP", "NOTHING", "Canvas", "Points", "ellipse", "smooth", "wobble"]

NOTHING = -1400
"""Hounsfield units outside the scanner's field of view."""

HU_STEP = 8
"""Hounsfield units per grey level of a canvas."""

Points: TypeAlias = npt.NDArray[np.float64]


class Canvas:
    """A slice at twice its size or more; one grey level is `HU_STEP`.

    The patient's axes are x to the left and y to the back; the image is 512 units wide.

    Args:
        side: Width and height in pixels.
        axes: Turn and zoom, then shift, from units to pixels: [2, 3].
        hu: Hounsfield units of the whole canvas at first.
    """

    def __init__(self, side: int, axes: Points, hu: float) -> None:
        self.axes = axes
        self.image = Image.new("L", (side, side), self._level(hu))
        self._pen = ImageDraw.Draw(self.image)

    @classmethod
    def posed(cls, rng: Draws, side: int) -> "Canvas":
        """Returns a canvas whose axes are turned, scaled and shifted a little, as patients lie."""
        turn, zoom = np.radians(rng.normal(0, 3)), rng.uniform(0.9, 1.03)
        cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
        x, y = 256 + rng.uniform(-9, 9, 2)
        return cls(side, np.array([[cos, -sin, x], [sin, cos, y]]) * side / 512, NOTHING)

    def fill(self, contour: Points, hu: float) -> None:
        """Fills the area inside a contour."""
        self._pen.polygon(self._pixels(contour), fill=self._level(hu))

    def stroke(self, path: Points, hu: float, width: float) -> None:
        """Paints a line with a width in units."""
        pixels = max(1, round(width * float(np.hypot(*self.axes[:, 0]))))
        self._pen.line(self._pixels(path), self._level(hu), pixels, joint="curve" if pixels > 10 else None)

    def shell(self, centre: npt.ArrayLike, radii: npt.ArrayLike, rim: float, outer: float, inner: float) -> None:
        """Fills an ellipse with `inner`, and a rim of `outer` around it."""
        self.fill(ellipse(centre, np.add(radii, rim)), outer)
        self.fill(ellipse(centre, radii), inner)

    def paste(self, layer: "Canvas", contours: Iterable[Points]) -> None:
        """Copies the area inside the contours from `layer`."""
        mask = Image.new("1", self.image.size)
        for contour in contours:
            ImageDraw.Draw(mask).polygon(self._pixels(contour), fill=1)
        self.image.paste(layer.image, mask=mask)

    def _pixels(self, points: Points) -> list[float]:
        pixels: list[float] = (points @ self.axes[:, :2].T + self.axes[:, 2]).ravel().tolist()
        return pixels

    @staticmethod
    def _level(hu: float) -> int:
        return round((hu - NOTHING) / HU_STEP)


def smooth(knots: Points, steps: int = 8) -> Points:
    """Returns the closed Catmull-Rom curve through the knots, with `steps` points per segment."""
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    a, b, c, d = (np.roll(knots, shift, axis=0)[:, None] for shift in (1, 0, -1, -2))
    curve = b + ((c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * (b - c) + d - a) * t**3) / 2
    return np.asarray(curve.reshape(-1, 2))


def wobble(rng: Draws, amplitude: float) -> npt.NDArray[np.complex128]:
    """Returns the complex amplitudes of 2, 3, 4 and 5 waves per turn on the radius of an ellipse."""
    return np.asarray(rng.normal(0, amplitude, 4) * np.exp(2j * np.pi * rng.random(4)) / np.arange(1, 5))


def ellipse(
    centre: npt.ArrayLike,
    radii: npt.ArrayLike,
    *,
    turn: float = 0,
    power: float = 2,
    wobble: npt.ArrayLike = (),
    arc: tuple[float, float] = (0, 360),
    count: int = 64,
) -> Points:
    """Returns an ellipse, or an `arc` of it in degrees, turned by radians; a `power` above 2 makes it squarer."""
    t = np.radians(np.linspace(*arc, count))
    points = np.column_stack([np.cos(t), np.sin(t)])
    points = np.sign(points) * np.abs(points) ** (2 / power)
    for waves, amplitude in enumerate(np.asarray(wobble), start=2):
        points *= 1 + (amplitude * np.exp(1j * waves * t)).real[:, None]
    cos, sin = np.cos(turn), np.sin(turn)
    return np.asarray(centre + points * radii @ np.array([[cos, sin], [-sin, cos]]))
