"""The gate of the stress test: no change may alter more of the decisions than a bound allows."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

__all__ = ["Judged", "counted_strengths", "decided_before", "exceeds", "failures", "holds_until", "unshown"]


class Judged(NamedTuple):
    """A change at one strength, and the kind of change that counts.

    The kind is `decision_changed`: flipped or newly referred, of the images that were decided before. For a mistake,
    such as an inverted scan, which a model should refer, it is `flipped`; without an operating point `class_changed`.
    """

    title: str
    of: Mapping[str, Any]
    kind: str

    @property
    def change(self) -> Mapping[str, Any]:
        """The number and share of the kind that counts."""
        change: Mapping[str, Any] = self.of[self.kind]
        return change


def counted_strengths(transform: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the strengths of a change that the gate counts: mild and middle, or the only one."""
    return list(transform["strengths"][:2])


def decided_before(document: Mapping[str, Any]) -> int:
    """Returns the number of images whose decision a change can alter; all, if the model has no operating point."""
    decisions = document["decisions"]
    images: int = document["images"] if decisions is None else decisions["positive"] + decisions["negative"]
    return images


def failures(document: Mapping[str, Any], bound: float) -> list[Judged]:
    """Returns the changes that alter a larger share of the decisions than the bound; all, if there are no decisions.

    The observed share of images is compared, exactly.
    """
    return [judged for judged in _counted(document) if exceeds(judged.change, bound)]


def unshown(document: Mapping[str, Any], bound: float) -> list[Judged]:
    """Returns the changes that keep the bound on these images, but whose 95 % interval reaches beyond it."""
    return [
        judged
        for judged in _counted(document)
        if not exceeds(judged.change, bound) and (judged.change["interval"] or (0, 1))[1] > bound
    ]


def holds_until(transform: Mapping[str, Any], bound: float) -> Mapping[str, Any] | None:
    """Returns the strongest strength that keeps the bound, with all milder ones; None if the mildest breaks it."""
    found = None
    for of in transform["strengths"]:
        if exceeds(of[transform["judged_by"]], bound):
            break
        found = of
    return found


def exceeds(change: Mapping[str, Any], bound: float) -> bool:
    """Returns whether a number of images is a larger share than the bound, without rounding.

    No images cannot show that they keep a bound: for them it is True.

    >>> exceeds({"count": 5, "images": 100}, 0.05), exceeds({"count": 6, "images": 100}, 0.05)
    (False, True)
    """
    return not change["images"] or Fraction(change["count"], change["images"]) > Fraction(repr(bound))


def _counted(document: Mapping[str, Any]) -> Iterator[Judged]:
    for transform in document["transforms"]:
        for of in counted_strengths(transform):
            yield Judged(transform["title"], of, transform["judged_by"])
