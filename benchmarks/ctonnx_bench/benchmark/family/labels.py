"""Places for the labels of a plot's points, without overlaps, and points of nearly the same value side by side."""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

__all__ = ["Box", "Disc", "place_labels", "side_by_side"]

_ANGLES = 24
_DISTANCES = (4.0, 8.0, 14.0, 22.0, 32.0, 44.0, 58.0)
"""From a disc's edge to the label, in points."""
_SWEEPS = 6  # over all labels; more changes nothing for a dozen
_OVER_LABEL, _OVER_DISC, _OVER_LINE, _OUTSIDE = 60.0, 40.0, 8.0, 100.0
"""Cost of the overlap with another label, a disc and a line, and of the part outside, for each square point."""
_MISLEADING = 60.0
"""Cost of a place that is nearer to another disc than to its own, or seen across another disc."""


class Disc(NamedTuple):
    """A point of a plot: its centre and radius, in points of 1/72 inch."""

    x: float
    y: float
    radius: float

    @property
    def box(self) -> "Box":
        """The square around it."""
        return Box(self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius)


class Box(NamedTuple):
    """A rectangle, in points of 1/72 inch."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        """Returns the area that two rectangles share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)

    def nearest(self, disc: Disc) -> tuple[float, float]:
        """Returns the point of the rectangle that is nearest to a disc's centre."""
        return min(max(disc.x, self.left), self.right), min(max(disc.y, self.bottom), self.top)

    def distance(self, disc: Disc) -> float:
        """Returns the distance from a disc's edge, negative if the disc reaches into the rectangle."""
        return math.dist(self.nearest(disc), (disc.x, disc.y)) - disc.radius

    @property
    def area(self) -> float:
        """Width times height."""
        return (self.right - self.left) * (self.top - self.bottom)


def place_labels(
    discs: Sequence[Disc], sizes: Sequence[tuple[float, float]], lines: Sequence[Box], inside: Box
) -> list[Box]:
    """Returns the place of each disc's label: near it, and over no other label, disc or line if there is room.

    Each label in turn moves to the cheapest of its places around its disc, given the places of the others.

    Args:
        discs: Points of the plot.
        sizes: Width and height of each label.
        lines: Lines that labels should not cover, such as error bars, as thin rectangles.
        inside: Part of the plot for the labels.
    """
    choices = [_around(disc, size) for disc, size in zip(discs, sizes, strict=True)]
    fixed = [
        [_fixed_cost(box, disc, discs, lines, inside) for box, _ in places]
        for disc, places in zip(discs, choices, strict=True)
    ]
    placed: list[Box | None] = [None] * len(discs)
    for _ in range(_SWEEPS):
        before = list(placed)
        for number, places in enumerate(choices):
            others = [box for place, box in enumerate(placed) if place != number and box is not None]
            costs = [
                cost + distance + _OVER_LABEL * sum(map(box.overlap, others))
                for cost, (box, distance) in zip(fixed[number], places, strict=True)
            ]
            placed[number] = places[costs.index(min(costs))][0]
        if placed == before:
            break
    return [box for box in placed if box is not None]


def side_by_side(values: Sequence[float], radii: Sequence[float], least: float) -> list[float]:
    """Returns the places of discs in a row: at least `least` apart and without overlaps, moved as little as possible.

    Equal values keep their order. Values of one cluster are spread around its mean: the least squares solution, by
    pooling of adjacent violators (Barlow et al. 1972, Statistical Inference under Order Restrictions).

    >>> side_by_side([1.0, 1.0, 9.0], [0.5, 0.5, 0.5], least=2.0)
    [0.0, 2.0, 9.0]
    """
    order = sorted(range(len(values)), key=lambda place: values[place])
    gaps = [max(least, radii[one] + radii[two] + 1.0) for one, two in pairwise(order)]
    offsets = list(accumulate(gaps, initial=0.0))
    blocks: list[tuple[float, int]] = []  # mean of the values less their offsets, and number
    for place, offset in zip(order, offsets, strict=False):
        mean, count = values[place] - offset, 1
        while blocks and blocks[-1][0] > mean:
            last, others = blocks.pop()
            mean, count = (mean * count + last * others) / (count + others), count + others
        blocks.append((mean, count))
    shifted = [mean for mean, count in blocks for _ in range(count)]
    moved = [0.0] * len(values)
    for place, value, offset in zip(order, shifted, offsets, strict=False):
        moved[place] = value + offset
    return moved


def _around(disc: Disc, size: tuple[float, float]) -> list[tuple[Box, float]]:
    """Returns places around a disc, the nearest first, with their distance; those beside and above it are preferred."""
    width, height = size
    found = []
    for distance in _DISTANCES:
        for step in range(_ANGLES):
            angle = 2 * math.pi * step / _ANGLES
            across, up = math.cos(angle), math.sin(angle)
            reach = disc.radius + distance
            # The nearest point of the label's edge lies in the direction of the angle.
            x = disc.x + reach * across + width / 2 * max(-1.0, min(1.0, 1.5 * across))
            y = disc.y + reach * up + height / 2 * max(-1.0, min(1.0, 1.5 * up))
            box = Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            found.append((box, distance + 2.0 * (across < -0.1) + 1.0 * (up < -0.1)))
    return found


def _crosses(box: Box, own: Disc, other: Disc) -> bool:
    """Returns whether the line from a disc to its label crosses another disc."""
    x, y = box.nearest(own)
    across, up = x - own.x, y - own.y
    length = across**2 + up**2
    along = ((other.x - own.x) * across + (other.y - own.y) * up) / length if length else 0.0
    along = min(max(along, 0.0), 1.0)
    return math.dist((own.x + along * across, own.y + along * up), (other.x, other.y)) < other.radius


def _fixed_cost(box: Box, own: Disc, discs: Sequence[Disc], lines: Sequence[Box], inside: Box) -> float:
    """Returns the cost of all that does not move."""
    nearest = min((box.distance(disc) for disc in discs if disc is not own), default=math.inf)
    return (
        _MISLEADING * (nearest < box.distance(own) + 2)
        + _MISLEADING * any(_crosses(box, own, disc) for disc in discs if disc is not own)
        + _OVER_DISC * sum(box.overlap(disc.box) for disc in discs)
        + _OVER_LINE * sum(map(box.overlap, lines))
        + _OUTSIDE * (box.area - box.overlap(inside))
    )
