"""Order of the slices of a series: by position, else by Instance Number, else by name."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from ctonnx.prediction.series.slices import SliceRecord

__all__ = ["Axis", "Ordered", "in_order", "natural_key"]

Axis: TypeAlias = Literal["mm", "instance", "count"]
"""Unit of the place of a slice: position in mm, Instance Number, or place in the order of the names."""

_DIGITS = re.compile(r"(\d+)")


class Ordered(NamedTuple):
    """Slices in order, and what they are ordered by."""

    slices: tuple[SliceRecord, ...]
    axis: Axis


def in_order(slices: Sequence[SliceRecord]) -> Ordered:
    """Returns slices in the order of the body.

    A position or an Instance Number counts only if all slices have one; equal ones are in the order of the names. The
    frames of a file have no position of their own: files with several are in the order of their names.
    """
    by_name = sorted(slices, key=lambda one: natural_key(one.file))
    if by_name and all(one.frames == 1 for one in by_name):
        placed = [(one.position, one.instance or 0, one) for one in by_name if one.position is not None]
        if len(placed) == len(by_name):
            return Ordered(tuple(one for *_, one in sorted(placed, key=lambda item: item[:2])), "mm")
        numbered = [(one.instance, one) for one in by_name if one.instance is not None]
        if len(numbered) == len(by_name):
            return Ordered(tuple(one for _, one in sorted(numbered, key=lambda item: item[0])), "instance")
    return Ordered(tuple(by_name), "count")


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Returns a sort key that compares the numbers in names as numbers.

    >>> sorted(["slice_10.png", "slice_2.png", "slice_1.png"], key=natural_key)
    ['slice_1.png', 'slice_2.png', 'slice_10.png']
    """
    # Texts and numbers alternate, a text first, so that only equal kinds are compared.
    return [int(part) if place % 2 else part.casefold() for place, part in enumerate(_DIGITS.split(name))], name
