"""Whether an operating point holds on scans of another origin."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx_train.evaluation.external.shares import Share, share_text

__all__ = ["Verdict", "VerdictName", "judge_point"]

VerdictName: TypeAlias = Literal["holds", "not shown", "does not hold", "unknown"]

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


def judge_point(point: OperatingPoint, sensitivity: Share, specificity: Share) -> Verdict:
    """Returns whether an operating point holds, by its sensitivity and specificity on other scans.

    It does not hold if the whole interval of the sensitivity is below the target, or that of the specificity below its
    interval on the images that the point was fitted on, or if the two values are no better than chance: their sum is 1
    or less. It holds if the whole interval of the sensitivity reaches the target, and the specificity does not speak
    against it; without negative scans that is not shown, as a model that calls every scan suspicious reaches any
    sensitivity. Without positive scans it is unknown, unless the specificity speaks against it.

    Args:
        point: Operating point; without a target, its sensitivity where it was fitted is the target.
        sensitivity: Sensitivity on the positive scans, from `share_of`.
        specificity: Specificity on the negative scans, from `share_of`.
    """
    target = point.sensitivity if point.target_sensitivity is None else point.target_sensitivity
    fitted = point.specificity_interval or (point.specificity, point.specificity)
    found, others = sensitivity["interval"], specificity["interval"]
    like_chance = bool(found and others) and sensitivity["value"] + specificity["value"] <= 1
    name: VerdictName
    if like_chance or (found and found[1] < target) or (others and others[1] < fitted[0]):
        name = "does not hold"
    elif not found:
        name = "unknown"
    else:
        name = "holds" if found[0] >= target and others else "not shown"
    parts = [
        _part("sensitivity", sensitivity, "positive", f"where {target:g} was asked for"),
        _part("specificity", specificity, "negative", f"where {_fitted(point)} was measured when it was fitted"),
    ]
    if like_chance:
        parts.append("the two are no better than chance")
    return Verdict(name=name, sentence=f"{_OPENINGS[name]}: {'; '.join(parts)}")


def _part(name: str, share: Share, side: str, against: str) -> str:
    if not share["images"]:
        return f"{name} cannot be measured, as there are no {side} scans"
    scans = "scan" if share["images"] == 1 else "scans"
    return f"{name} {share_text(share)} on {share['images']} {side} {scans} {against}"


def _fitted(point: OperatingPoint) -> str:
    interval: Any = point.specificity_interval
    return share_text({"value": point.specificity, "interval": interval, "images": None})
