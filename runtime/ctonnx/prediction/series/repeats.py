"""Slices that are in several files: each counts once."""

from collections.abc import Callable, Hashable, Sequence

from ctonnx.prediction.series.choice import LeftOut
from ctonnx.prediction.series.slices import SliceRecord

__all__ = ["REPEATED", "image_key", "without_repeats"]

REPEATED = "exported twice"
"""Kind of `LeftOut` of files that repeat a slice."""


def image_key(one: SliceRecord) -> Hashable | None:
    """Returns the key that the copies of a slice share, and no other slice of its series has; None if unknown.

    It is the SOPInstanceUID. Some anonymizations write one for all slices of a series, which must not make them one
    slice, as a finding would be lost: the position and the Instance Number must be the same, and one be known.
    """
    if not one.image or (one.position is None and one.instance is None):
        return None
    return one.study, one.series, one.image, one.position, one.instance


def without_repeats(
    slices: Sequence[SliceRecord], key: Callable[[SliceRecord], Hashable | None] = image_key
) -> tuple[list[SliceRecord], tuple[LeftOut, ...]]:
    """Returns the slices without further copies, and the number of those; the first of several stays.

    Args:
        slices: Slices in any order.
        key: Returns the key that the copies of a slice share; None for a slice without known copies.
    """
    seen = set[Hashable]()
    kept: list[SliceRecord] = []
    repeats = 0
    for one in slices:
        found = key(one)
        if found is not None and found in seen:
            repeats += one.frames
            continue
        seen.add(found)
        kept.append(one)
    return kept, (LeftOut(REPEATED, repeats),) if repeats else ()
