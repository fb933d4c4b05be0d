"""Gates: bounds that a comparison must keep, for each precision and for each device."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from ctonnx.parity.intervals import share_interval
from ctonnx.parity.rounding import exactly, points_text, shown

if TYPE_CHECKING:  # imports NumPy, and `ctonnx export --help` needs only the bounds
    from ctonnx.parity.comparison import AccuracyChange, Parity

__all__ = ["DEVICE_GATES", "GATES", "Bound", "BrokenBound", "Gate"]


Bound: TypeAlias = Literal[
    "max_dp",
    "min_agreement",
    "max_drop",
    "min_heatmap_correlation",
    "max_dnovelty",
    "min_novelty_correlation",
    "min_novelty_agreement",
    "min_decision_agreement",
]


class BrokenBound(NamedTuple):
    """A bound of a gate that a candidate exceeds.

    Attributes:
        bound: Name of the bound in `Gate`.
        excess: Distance beyond the bound, in units that make the bounds comparable; infinite for a NaN.
        phrase: Measured value and bound, for a message.
        interval: 95 % interval of the measured value if the bound is within it, an uncertain result; else empty.
    """

    bound: Bound
    excess: float
    phrase: str
    interval: str = ""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Bounds that a precision must keep to be exported. A NaN exceeds all bounds.

    Attributes:
        max_dp: Maximum absolute difference of a probability.
        min_agreement: Minimum top-1 agreement, 0 to 1.
        max_drop: Maximum loss of accuracy, 0 to 1; None allows any loss.
        min_heatmap_correlation: Minimum median correlation of heatmaps.
        max_dnovelty: Maximum relative difference of an image's novelty; None, as for the next two, allows any. Models
            without this output break none of the three.
        min_novelty_correlation: Minimum rank correlation of the novelty.
        min_novelty_agreement: Minimum share of images that both or neither flag as novel, 0 to 1.
        min_decision_agreement: Minimum share of images with the same decision, 0 to 1; None allows any, and models
            whose decisions were not compared do not break it.
    """

    max_dp: float
    min_agreement: float
    max_drop: float | None = None
    min_heatmap_correlation: float = -1.0
    max_dnovelty: float | None = None
    min_novelty_correlation: float | None = None
    min_novelty_agreement: float | None = None
    min_decision_agreement: float | None = None

    @property
    def summary(self) -> str:
        """The bounds in one line."""
        correlation, decisions = self.min_heatmap_correlation, self.min_decision_agreement
        bounds = [
            f"max |dp| {exactly(self.max_dp)} or less" if self.max_dp < 1 else "",
            f"agreement {self._agreement_text} or more" if self.min_agreement > 0 else "",
            f"a loss of accuracy of {points_text(self.max_drop)} points or less" if self.max_drop is not None else "",
            f"heatmaps' median correlation {exactly(correlation)} or more" if correlation > -1 else "",
            *self._novelty_bounds,
            "" if decisions is None else f"{_percent(decisions)} or more decided alike",
        ]
        return ", ".join(filter(None, bounds)) or "any outputs that are numbers"

    @property
    def _novelty_bounds(self) -> list[str]:
        most, correlation, agreement = self.max_dnovelty, self.min_novelty_correlation, self.min_novelty_agreement
        return [
            "" if most is None else f"novelty within {_percent(most)}",
            "" if correlation is None else f"novelty's rank correlation {exactly(correlation)} or more",
            "" if agreement is None else f"{_percent(agreement)} or more flagged alike as novel",
        ]

    @property
    def _agreement_text(self) -> str:
        return _percent(self.min_agreement)

    def broken(
        self, parity: "Parity", change: "AccuracyChange | None" = None, validation: "AccuracyChange | None" = None
    ) -> tuple[BrokenBound, ...]:
        """Returns the bounds that a candidate exceeds; empty if it passes the gate.

        The measured value decides, whatever its interval is. Only on the validation images, which the network has not
        been trained on, the whole 95 % interval must exceed the bound, so that a single image cannot decide.

        Args:
            parity: Comparison of the candidate with its reference.
            change: Change of its accuracy; None without labels.
            validation: Change of its accuracy on only the validation images.
        """
        found = []

        def exceed(bound: Bound, excess: float, phrase: str, interval: str = "") -> None:
            excess = excess / _UNITS[bound] if math.isfinite(excess) else math.inf
            found.append(BrokenBound(bound, excess, phrase, interval))

        if not parity.max_dp <= self.max_dp:
            exceed(
                "max_dp",
                parity.max_dp - self.max_dp,
                f"max |dp| is {shown(parity.max_dp, self.max_dp, digits=3)}, at most {exactly(self.max_dp)} is allowed",
            )
        if not parity.agreement >= self.min_agreement:
            exceed(
                "min_agreement",
                self.min_agreement - parity.agreement,
                f"agreement is {shown(parity.agreement, self.min_agreement, digits=2, form='%')}, at least "
                f"{exactly(self.min_agreement, digits=2, form='%')} is required",
                _interval_with(self.min_agreement, parity.agreement, parity.images),
            )
        if not math.isfinite(parity.max_dheatmap):
            exceed("min_heatmap_correlation", math.inf, "the heatmaps have values that are not finite")
        elif not parity.heatmap_correlation >= self.min_heatmap_correlation:
            exceed(
                "min_heatmap_correlation",
                self.min_heatmap_correlation - parity.heatmap_correlation,
                "the heatmaps' median correlation is "
                f"{shown(parity.heatmap_correlation, self.min_heatmap_correlation, digits=4, form='f')}, at least "
                f"{exactly(self.min_heatmap_correlation)} is required",
            )
        found += self._broken_novelty(parity)
        alike, least = parity.decision_agreement, self.min_decision_agreement
        if alike is not None and least is not None and not alike >= least:
            images = parity.decision_images
            of = "the images" if images is None else f"{images} images that fitted no threshold"
            exceed(
                "min_decision_agreement",
                least - alike,
                f"{shown(alike, least, digits=2, form='%')} of {of} are decided alike, at least "
                f"{exactly(least, form='%')} are required",
                _interval_with(least, alike, images),
            )
        if self.max_drop is None:
            return tuple(found)
        if change is not None and not change.difference >= -self.max_drop:
            exceed(
                "max_drop",
                -change.difference - self.max_drop,
                f"accuracy falls by {self._loss(change.difference)} points, at most {points_text(self.max_drop)} are "
                "allowed",
                f"a loss of {self._loss(change.high)} to {self._loss(change.low)} points"
                if change.difference < -self.max_drop <= change.high
                else "",
            )
        if validation is not None and not validation.high >= -self.max_drop:
            exceed(
                "max_drop",
                -validation.high - self.max_drop,
                f"accuracy falls by {self._loss(validation.difference)} points on the validation images, by at least "
                f"{self._loss(validation.high)} (95 % interval), at most {points_text(self.max_drop)} are allowed",
            )
        return tuple(found)

    def _broken_novelty(self, parity: "Parity") -> list[BrokenBound]:
        """Returns the bounds on the novelty that a candidate exceeds; none if the models have no such output."""
        found = []

        def exceed(bound: Bound, excess: float, phrase: str, interval: str = "") -> None:
            found.append(BrokenBound(bound, excess / _UNITS[bound], phrase, interval))

        difference, correlation, agreement = parity.max_dnovelty, parity.novelty_correlation, parity.novelty_agreement
        if difference is None or correlation is None:
            return found
        if not math.isfinite(difference):
            exceed("max_dnovelty", math.inf, "the novelty has values that are not finite")
            return found
        if (most := self.max_dnovelty) is not None and not difference <= most:
            exceed(
                "max_dnovelty",
                difference - most,
                f"an image's novelty differs by {shown(difference, most, digits=2, form='%')}, at most "
                f"{exactly(most, form='%')} is allowed",
            )
        if (least := self.min_novelty_correlation) is not None and not correlation >= least:
            exceed(
                "min_novelty_correlation",
                least - correlation,
                f"the novelty's rank correlation is {shown(correlation, least, digits=4, form='f')}, at least "
                f"{exactly(least)} is required",
            )
        if (least := self.min_novelty_agreement) is not None and agreement is not None and not agreement >= least:
            exceed(
                "min_novelty_agreement",
                least - agreement,
                f"{shown(agreement, least, digits=2, form='%')} of the images are flagged alike as novel, at least "
                f"{exactly(least, form='%')} are required",
                _interval_with(least, agreement, parity.images),
            )
        return found

    def _loss(self, difference: float) -> str:
        """Returns a loss of accuracy in points, not rounded across the bound."""
        allowed = () if self.max_drop is None else (self.max_drop,)
        return shown(-difference, *allowed, digits=2, form="%").removesuffix("%")

    def unshown(self, parity: "Parity", change: "AccuracyChange | None" = None) -> tuple[str, ...]:
        """Returns a phrase for each bound that the measured value keeps but part of its 95 % interval exceeds."""
        found = []
        decided = f"decided alike, of {parity.decision_images} images that fitted no threshold"
        for least, share, images, text in (
            (self.min_agreement, parity.agreement, parity.images, "agreement of {}"),
            (self.min_novelty_agreement, parity.novelty_agreement, parity.images, "{} flagged alike as novel"),
            (self.min_decision_agreement, parity.decision_agreement, parity.decision_images, f"{{}} {decided}"),
        ):
            if least is None or share is None or images is None:
                continue
            low, _ = share_interval(share, images)
            if low < least <= share:
                reached = shown(low, least, digits=2, form="%").replace("%", " %")
                found.append(f"{text.format(_percent(least))}: the interval reaches down to {reached}")
        if self.max_drop is not None and change is not None and change.low < -self.max_drop <= change.difference:
            found.append(
                f"a loss of at most {points_text(self.max_drop)} points: the interval reaches {self._loss(change.low)}"
            )
        return tuple(found)

    def failures(
        self, parity: "Parity", change: "AccuracyChange | None" = None, validation: "AccuracyChange | None" = None
    ) -> tuple[str, ...]:
        """Returns the phrases of `broken`."""
        return tuple(bound.phrase for bound in self.broken(parity, change, validation))


def _interval_with(bound: float, share: float, images: int | None) -> str:
    """Returns the interval of a share below a bound if it contains the bound; else, or of unknown images, empty."""
    if images is None or not share < bound:
        return ""
    low, high = share_interval(share, images)
    return f"{low:.2%} to {shown(high, bound, digits=2, form='%')}" if bound <= high else ""


def _percent(share: float) -> str:
    return exactly(share, form="%").replace("%", " %")


_DECISIONS = {"min_novelty_correlation": 0.98, "min_novelty_agreement": 0.98, "min_decision_agreement": 0.98}

GATES = {
    "fp32": Gate(max_dp=1e-4, min_agreement=0.0, max_dnovelty=1e-3),
    "fp16": Gate(max_dp=5e-3, min_agreement=0.99, max_drop=0.005, min_heatmap_correlation=0.999, **_DECISIONS),
    "int8": Gate(max_dp=1.0, min_agreement=0.99, max_drop=0.005, min_heatmap_correlation=0.98, **_DECISIONS),
}
"""Gate of each precision: FP32 is compared with PyTorch, the others with FP32. FP32 needs no bound on agreement: a
difference of 1e-4 can only change exact ties. The novelty is a sum of squares of weighted sums of 2048 features:
their rounding errors, of 1e-7 each, are up to 1e-5 of it, and 1e-3 moves no image that is not at the threshold."""

DEVICE_GATES = {
    "fp32": Gate(max_dp=1e-4, min_agreement=0.0, max_dnovelty=1e-3),
    "fp16": Gate(max_dp=5e-3, min_agreement=0.0, min_heatmap_correlation=0.999, max_dnovelty=0.1),
    "int8": Gate(max_dp=0.05, min_agreement=0.0, min_heatmap_correlation=0.98, max_dnovelty=0.25),
}
"""Gate of each precision between a device and the exporting machine, for the same file. INT8 rounds at every layer, and
a sum near the middle between two integers may be rounded differently on another device."""

_UNITS: Mapping[Bound, float] = {
    "max_dp": 0.05,
    "min_agreement": 0.01,
    "max_drop": 0.01,
    "min_heatmap_correlation": 0.02,
    "max_dnovelty": 0.1,
    "min_novelty_correlation": 0.02,
    "min_novelty_agreement": 0.02,
    "min_decision_agreement": 0.02,
}
"""Units of the excess over a bound: a point of agreement or accuracy counts like 0.02 of the heatmaps' correlation, as
in INT8's gate."""
