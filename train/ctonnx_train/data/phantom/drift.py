"""Random draws that change slowly along a body, so that neighbouring slices show nearly the same anatomy."""

from typing import Any, Protocol

import numpy as np

__all__ = ["Draws", "Drift"]


class Draws(Protocol):
    """The methods of NumPy's `Generator` that the anatomy is drawn with."""

    def random(self, size: Any = None) -> Any:
        """Draws from 0 to 1."""

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        """Draws from `low` to `high`."""

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        """Draws normally distributed values."""

    def choice(self, a: Any, size: Any = None) -> Any:
        """Draws items."""

    def integers(self, low: Any, high: Any = None) -> Any:
        """Draws an integer below `high`."""


class Drift:
    """Draws of one patient at one level. Each value is distributed as NumPy's is, and drifts from level to level.

    The correlation of a normally distributed value at two levels is the cosine of `rate` times their distance; a
    uniform one moves by up to a quarter of that, of its range. Items and integers are the same at all levels.

    Args:
        seeds: Seeds of the patient; the same at all levels.
        level: Place along the body.
        rate: Change of the values per unit of `level`, in radians.
    """

    def __init__(self, seeds: np.random.SeedSequence, level: float, rate: float) -> None:
        base, slope = (np.random.SeedSequence(seeds.entropy, spawn_key=(*seeds.spawn_key, i)) for i in range(2))
        self._base, self._slope = np.random.default_rng(base), np.random.default_rng(slope)
        self._angle = level * rate

    def random(self, size: Any = None) -> Any:
        """Draws from 0 to 1; values that drift over an end are reflected."""
        place = 2 * self._base.random(size) + self._slope.uniform(-0.25, 0.25, size) * self._angle
        return 1 - abs(place % 2 - 1)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        """Draws from `low` to `high`, which are broadcast."""
        shape = np.broadcast_shapes(np.shape(low), np.shape(high)) if size is None else size
        return np.asarray(low) + self.random(shape or None) * (np.asarray(high) - np.asarray(low))

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        """Draws normally distributed values."""
        here, across = self._base.standard_normal(size), self._slope.standard_normal(size)
        return loc + scale * (np.cos(self._angle) * here + np.sin(self._angle) * across)

    def choice(self, a: Any, size: Any = None) -> Any:
        """Draws items, the same at all levels."""
        return self._base.choice(a, size)

    def integers(self, low: Any, high: Any = None) -> Any:
        """Draws an integer, the same at all levels."""
        return self._base.integers(low, high)
