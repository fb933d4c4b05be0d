"""Whether an operating point holds on scans of another origin."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.parity.rounding import exactly, shown
from ctonnx.system.text import counted
from ctonnx_train.evaluation.statistics.shares import Share

__all__ = ["Verdict", "VerdictName", "judge_point"]

VerdictName: TypeAlias = Literal["holds", "not shown", "does not hold", "unknown"]

_MARGIN = 0.1  # of the specificity
_OPENINGS: dict[VerdictName, str] = {
    "holds": "the operating point holds here",
    "not shown": "it is not shown that the operating point holds here",
    "does not hold": "the operating point does not hold here",
    "unknown": "it is unknown whether the operating point holds here",
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A verdict, and a sentence with its reasons."""

    name: VerdictName
    sentence: str


def judge_point(
    point: OperatingPoint, sensitivity: Share, specificity: Share, *, optimistic: Sequence[str] = ()
) -> Verdict:
    """Returns whether an operating point holds, by its sensitivity and specificity on other scans.

    Each of the two has a bound to reach. That of the sensitivity is the target; that of the specificity is 0.1 below
    its value on the images that the point was fitted on, but at least 1 - target, as with less the point is no better
    than chance. (The lower end of its interval there is no bound: that of few images is so low that any reaches it.)

    The point holds if both intervals are at or above their bounds as a whole. It does not hold if one is below as a
    whole. Otherwise the
    scans are too few to show either; that includes no negative scans, as a model that calls every scan suspicious
    reaches any sensitivity. Without positive scans it is unknown, unless the specificity speaks against it. Scans that
    the model was trained, chosen or recalibrated on cannot show that it holds.

    Args:
        point: Operating point; without a target, its sensitivity where it was fitted is the target.
        sensitivity: Sensitivity on the positive scans, from `exact_share_of`.
        specificity: Specificity on the negative scans, from `exact_share_of`.
        optimistic: Reasons why metrics on these scans are optimistic, such as that the model was fitted on them.
    """
    target = point.sensitivity if point.target_sensitivity is None else point.target_sensitivity
    allowed, chance = round(point.specificity - _MARGIN, 6), round(1 - target, 6)
    lowest = max(allowed, chance)
    why = f"{_MARGIN:g} below that of its fit" if lowest == allowed else "which chance reaches"
    found = _Found("sensitivity", sensitivity, "positive", target, f"the target of {exactly(target)}")
    others = _Found("specificity", specificity, "negative", lowest, f"{exactly(lowest, digits=3, form='f')}, {why}")
    name: VerdictName
    if found.is_below or others.is_below:
        name = "does not hold"
    elif not sensitivity["images"]:
        name = "unknown"
    else:
        name = "holds" if found.is_reached and others.is_reached and not optimistic else "not shown"
    opening = _OPENINGS[name]
    if name == "not shown":
        are_enough = found.is_reached and others.is_reached
        opening += f", as {' and '.join(optimistic)}" if are_enough else ", as there are too few scans"
    return Verdict(name=name, sentence=f"{opening}: {found.text}; {others.text}")


@dataclass(frozen=True)
class _Found:
    """A share of one side's scans, and the bound that it has to reach."""

    name: str
    share: Share
    side: str
    bound: float
    words: str

    @property
    def is_reached(self) -> bool:
        return self.share["interval"] is not None and self.share["interval"][0] >= self.bound

    @property
    def is_below(self) -> bool:
        return self.share["interval"] is not None and self.share["interval"][1] < self.bound

    @property
    def text(self) -> str:
        images = self.share["images"]
        if not images:
            return f"{self.name} cannot be measured, as there are no {self.side} scans"
        place = "at or above" if self.is_reached else "below" if self.is_below else "on both sides of"
        numbers = (self.share["value"], *self.share["interval"])
        value, low, high = (shown(number, self.bound, digits=3, form="f") for number in numbers)
        scans, effective = counted(images, f"{self.side} scan"), self.share.get("effective_images")
        if effective is not None:
            scans += f" (by their groups as {effective:.1f} independent ones)"
        return f"{self.name} {value} [{low}, {high}] on {scans}, {place} {self.words}"
