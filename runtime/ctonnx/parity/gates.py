"""The gates: bounds that a comparison must keep, for each precision and for each device."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from ctonnx.parity.comparison import AccuracyChange, Parity, points_text
from ctonnx.parity.rounding import exactly, shown

__all__ = ["DEVICE_GATES", "GATES", "Bound", "BrokenBound", "Gate"]


Bound: TypeAlias = Literal["max_dp", "min_agreement", "max_drop", "min_heatmap_correlation"]


class BrokenBound(NamedTuple):
    """A bound of a gate that a candidate does not keep.

    Attributes:
        bound: which one, by its name in `Gate`.
        excess: how far beyond it the candidate lies, in units that make the bounds comparable; infinite for a NaN.
        phrase: what was found and what is allowed.
        doubt: The 95 % interval of the measured value, in words, where it reaches the bound, so that the images do not
            show on which side the candidate lies; else empty.
    """

    bound: Bound
    excess: float
    phrase: str
    doubt: str = ""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The bounds that a precision must keep to be shipped; a NaN keeps none.

    Attributes:
        max_dp: Largest absolute difference of a probability that is allowed.
        min_agreement: Smallest share of images with the same most probable class that is allowed.
        max_drop: Largest loss of accuracy that is allowed, 0 to 1; None allows any.
        min_heatmap_correlation: Smallest median correlation of heatmaps that is allowed.
    """

    max_dp: float
    min_agreement: float
    max_drop: float | None = None
    min_heatmap_correlation: float = -1.0

    @property
    def summary(self) -> str:
        """What it asks for, in one line."""
        bounds = [
            f"max |dp| {exactly(self.max_dp)} or less" if self.max_dp < 1 else "",
            f"agreement {self._agreement_asked} or more" if self.min_agreement > 0 else "",
            f"a loss of accuracy of {points_text(self.max_drop)} points or less" if self.max_drop is not None else "",
            f"heatmaps' median correlation {exactly(self.min_heatmap_correlation)} or more"
            if self.min_heatmap_correlation > -1
            else "",
        ]
        return ", ".join(filter(None, bounds)) or "any answers that are numbers"

    @property
    def _agreement_asked(self) -> str:
        return exactly(self.min_agreement, form="%").replace("%", " %")

    def broken(
        self, parity: Parity, change: AccuracyChange | None = None, validation: AccuracyChange | None = None
    ) -> tuple[BrokenBound, ...]:
        """Returns each bound that is broken; none where the gate is passed.

        The measured value counts as it is: a share of the images must reach its bound, whatever its interval says.

        Args:
            parity: of the candidate.
            change: of its accuracy; None where no image has a label.
            validation: of its accuracy on the validation images alone, where the network is not right by having learned
                them: a loss counts where its 95 % interval leaves no doubt, so that one scan does not decide.
        """
        found = []

        def refuse(bound: Bound, excess: float, phrase: str, doubt: str = "") -> None:
            found.append(BrokenBound(bound, excess if np.isfinite(excess) else np.inf, phrase, doubt))

        if not parity.max_dp <= self.max_dp:
            refuse(
                "max_dp",
                (parity.max_dp - self.max_dp) / _UNITS["max_dp"],
                f"max |dp| is {shown(parity.max_dp, self.max_dp, digits=3)}, at most {exactly(self.max_dp)} is allowed",
            )
        if not parity.agreement >= self.min_agreement:
            low, high = parity.agreement_interval
            refuse(
                "min_agreement",
                (self.min_agreement - parity.agreement) / _UNITS["min_agreement"],
                f"agreement is {shown(parity.agreement, self.min_agreement, digits=2, form='%')}, at least "
                f"{exactly(self.min_agreement, digits=2, form='%')} is required",
                f"{low:.2%} to {shown(high, self.min_agreement, digits=2, form='%')}"
                if parity.agreement < self.min_agreement <= high
                else "",
            )
        if not np.isfinite(parity.max_dheatmap):
            refuse("min_heatmap_correlation", np.inf, "the heatmaps hold values that are not finite")
        elif not parity.heatmap_correlation >= self.min_heatmap_correlation:
            refuse(
                "min_heatmap_correlation",
                (self.min_heatmap_correlation - parity.heatmap_correlation) / _UNITS["min_heatmap_correlation"],
                "the heatmaps' median correlation is "
                f"{shown(parity.heatmap_correlation, self.min_heatmap_correlation, digits=4, form='f')}, at least "
                f"{exactly(self.min_heatmap_correlation)} is required",
            )
        if self.max_drop is None:
            return tuple(found)
        if change is not None and not change.difference >= -self.max_drop:
            refuse(
                "max_drop",
                (-change.difference - self.max_drop) / _UNITS["max_drop"],
                f"accuracy falls by {self._loss(change.difference)} points, at most {points_text(self.max_drop)} are "
                "allowed",
                f"a loss of {self._loss(change.high)} to {self._loss(change.low)} points"
                if change.difference < -self.max_drop <= change.high
                else "",
            )
        if validation is not None and not validation.high >= -self.max_drop:
            refuse(
                "max_drop",
                (-validation.high - self.max_drop) / _UNITS["max_drop"],
                f"accuracy falls by {self._loss(validation.difference)} points on the validation images, by at least "
                f"{self._loss(validation.high)} (95 % interval), at most {points_text(self.max_drop)} are allowed",
            )
        return tuple(found)

    def _loss(self, difference: float) -> str:
        """Returns a loss of accuracy in points, on its own side of the bound."""
        allowed = () if self.max_drop is None else (self.max_drop,)
        return shown(-difference, *allowed, digits=2, form="%").removesuffix("%")

    def unshown(self, parity: Parity, change: AccuracyChange | None = None) -> tuple[str, ...]:
        """Returns a phrase for each bound that the measured value keeps and that its 95 % interval does not show.

        Args:
            parity: of the candidate.
            change: of its accuracy; None where no image has a label.
        """
        found = []
        low, _ = parity.agreement_interval
        if low < self.min_agreement <= parity.agreement:
            found.append(
                f"agreement of {self._agreement_asked}: the interval reaches down to "
                f"{shown(low, self.min_agreement, digits=2, form='%').replace('%', ' %')}"
            )
        if self.max_drop is not None and change is not None and change.low < -self.max_drop <= change.difference:
            found.append(
                f"a loss of at most {points_text(self.max_drop)} points: the interval reaches {self._loss(change.low)}"
            )
        return tuple(found)

    def failures(
        self, parity: Parity, change: AccuracyChange | None = None, validation: AccuracyChange | None = None
    ) -> tuple[str, ...]:
        """Returns the phrase of each bound that `broken` finds."""
        return tuple(bound.phrase for bound in self.broken(parity, change, validation))


GATES = {
    "fp32": Gate(max_dp=1e-4, min_agreement=0.0),
    "fp16": Gate(max_dp=5e-3, min_agreement=0.99, max_drop=0.005, min_heatmap_correlation=0.999),
    "int8": Gate(max_dp=1.0, min_agreement=0.99, max_drop=0.005, min_heatmap_correlation=0.98),
}
"""The gate of each precision: of FP32 against PyTorch, of the others against FP32. FP32 needs no bound on agreement:
within 1e-4 only exact ties can change places."""

DEVICE_GATES = {
    "fp32": Gate(max_dp=1e-4, min_agreement=0.0),
    "fp16": Gate(max_dp=5e-3, min_agreement=0.0, min_heatmap_correlation=0.999),
    "int8": Gate(max_dp=0.05, min_agreement=0.0, min_heatmap_correlation=0.98),
}
"""How far a device's answers may lie from those of the same file where it was exported. INT8 rounds at every layer, and
a sum that falls near the middle between two integers may be rounded otherwise elsewhere."""

_UNITS: Mapping[Bound, float] = {
    "max_dp": 0.05,
    "min_agreement": 0.01,
    "max_drop": 0.01,
    "min_heatmap_correlation": 0.02,
}
"""What counts alike in the excess over a bound: a point of agreement or accuracy is as much as 0.02 of the heatmaps'
correlation, which is what INT8's gate leaves each."""
