"""The gate of the stress test: no change may flip more decisions than a bound allows."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

__all__ = ["counted_strengths", "exceeds", "failures", "holds_until", "judged_by", "unshown"]


def judged_by(document: Mapping[str, Any]) -> str:
    """Returns the kind of change that counts: flipped decisions, or other classes without an operating point."""
    return "flipped" if document["decided_by"]["operating_point"] else "class_changed"


def counted_strengths(transform: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the strengths of a change that the gate counts: mild and middle, or the only one."""
    return list(transform["strengths"][:2])


def failures(document: Mapping[str, Any], bound: float) -> list[tuple[str, Mapping[str, Any]]]:
    """Returns the changes, by title and strength, that alter a larger share of the decisions than the bound.

    The observed share of images is compared, exactly. A decision that becomes `refer` is not counted: it is safe.
    """
    return [(title, of) for title, of in _counted(document) if exceeds(of[judged_by(document)], of["images"], bound)]


def unshown(document: Mapping[str, Any], bound: float) -> list[tuple[str, Mapping[str, Any]]]:
    """Returns the changes that keep the bound on these images, but whose 95 % interval reaches beyond it."""
    kind = judged_by(document)
    return [
        (title, of)
        for title, of in _counted(document)
        if not exceeds(of[kind], of["images"], bound) and of[kind]["interval"][1] > bound
    ]


def holds_until(document: Mapping[str, Any], transform: Mapping[str, Any], bound: float) -> Mapping[str, Any] | None:
    """Returns the strongest strength that keeps the bound, with all milder ones; None if the mildest breaks it."""
    kind, found = judged_by(document), None
    for of in transform["strengths"]:
        if exceeds(of[kind], of["images"], bound):
            break
        found = of
    return found


def exceeds(change: Mapping[str, Any], images: int, bound: float) -> bool:
    """Returns whether a number of images is a larger share than the bound, without rounding.

    >>> exceeds({"count": 5}, 100, 0.05), exceeds({"count": 6}, 100, 0.05)
    (False, True)
    """
    return Fraction(change["count"], images) > Fraction(repr(bound))


def _counted(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for transform in document["transforms"]:
        for of in counted_strengths(transform):
            yield transform["title"], of
