"""The one comparison between what two models answer for the same pixels, and the gates that it must pass."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctonnx.outputs import Outputs
from ctonnx.rounding import exactly, rounded_down, rounded_up, shown

__all__ = [
    "DEVICE_GATES",
    "GATES",
    "MAX_DP",
    "AccuracyChange",
    "BrokenBound",
    "Gate",
    "Parity",
    "accuracy_change",
    "compare",
    "share_interval",
]

MAX_DP = "max |dp|: the largest absolute difference of any class's probability over the compared images"
"""What stands wherever max |dp| is shown."""

Bound: TypeAlias = Literal["max_dp", "min_agreement", "max_drop", "min_heatmap_correlation"]


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far a candidate's answers lie from its reference's.

    Attributes:
        images: how many images were compared.
        agreement: share of images with the same most probable class, 0 to 1.
        max_dp: largest absolute difference of any class's probability over the images.
        mean_dp: mean absolute difference of the probabilities.
        max_dlogit: largest absolute difference of a logit.
        max_dheatmap: largest absolute difference of a heatmap value, relative to the reference's largest value.
        heatmap_correlation: median over the images of Pearson's correlation of the two heatmaps of the reference's most
            probable class; images whose reference heatmap is the same everywhere do not count.
        lowest_heatmap_correlation: that of the image where it is lowest.
    """

    images: int
    agreement: float
    max_dp: float
    mean_dp: float
    max_dlogit: float
    max_dheatmap: float
    heatmap_correlation: float
    lowest_heatmap_correlation: float

    @property
    def agreement_interval(self) -> tuple[float, float]:
        """The agreement's 95 % interval, 0 to 1: `share_interval`."""
        return share_interval(self.agreement, self.images)

    def as_dict(self) -> dict[str, Any]:
        """Returns the differences with three significant digits, beyond which they are noise, and shares with six.

        Differences are rounded up and shares down, so that no rounding makes a figure keep a bound.
        """
        shares = ("agreement", "heatmap_correlation", "lowest_heatmap_correlation")
        return {
            name: value if isinstance(value, int) else rounded_down(value) if name in shares else rounded_up(value)
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, kw_only=True)
class AccuracyChange:
    """How much more or less accurate a candidate is than its reference on the same labelled images.

    Attributes:
        images: how many.
        reference: the reference's accuracy, 0 to 1.
        candidate: the candidate's.
        difference: candidate minus reference.
        low: lower end of the difference's 95 % interval.
        high: upper end.
    """

    images: int
    reference: float
    candidate: float
    difference: float
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        """Returns the figures, rounded down to a thousandth of a point: a loss is never made smaller."""
        return {
            name: value if isinstance(value, int) else rounded_down(value, 5) for name, value in asdict(self).items()
        }


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
        max_dp: largest absolute difference of a probability that is allowed.
        min_agreement: smallest share of images with the same most probable class that is allowed.
        max_drop: largest loss of accuracy that is allowed, 0 to 1; None allows any.
        min_heatmap_correlation: smallest median correlation of heatmaps that is allowed.
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
            f"a loss of accuracy of {_points(self.max_drop)} points or less" if self.max_drop is not None else "",
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
                f"accuracy falls by {self._loss(change.difference)} points, at most {_points(self.max_drop)} are "
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
                f"{self._loss(validation.high)} (95 % interval), at most {_points(self.max_drop)} are allowed",
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
                f"a loss of at most {_points(self.max_drop)} points: the interval reaches {self._loss(change.low)}"
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

_NORMAL = 1.959964  # of a 95 % interval


def share_interval(share: float, images: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953).

    >>> [round(end, 3) for end in share_interval(0.9, 10)]
    [0.596, 0.982]
    """
    square = _NORMAL**2
    middle = share + square / (2 * images)
    spread = _NORMAL * math.sqrt(share * (1 - share) / images + square / (4 * images**2))
    low, high = ((middle + side) / (1 + square / images) for side in (-spread, spread))
    # Of none and of all, one end is exact, which the sums above may miss by a last digit.
    return max(0.0, low) if share > 0 else 0.0, min(1.0, high) if share < 1 else 1.0


def compare(reference: Outputs, candidate: Outputs) -> Parity:
    """Compares two models' answers for the same images, in the same order.

    >>> import numpy as np
    >>> same = Outputs(np.float32([[0.9, 0.1]]), np.float32([[2.2, 0]]), np.zeros((1, 2, 7, 7), np.float32))
    >>> compare(same, same).max_dp
    0.0

    Raises:
        ValueError: there is nothing to compare, or the shapes differ.
    """
    if len(reference) == 0:
        raise ValueError("parity needs at least one image, found none")
    for name in ("probabilities", "logits", "heatmap"):
        expected, found = getattr(reference, name).shape, getattr(candidate, name).shape
        if expected != found:
            raise ValueError(f"expected {name} of shape {list(expected)}, found {list(found)}")
    dp = _difference(reference.probabilities, candidate.probabilities)
    dheatmap = _difference(reference.heatmap, candidate.heatmap)
    correlations = _heatmap_correlations(reference, candidate)
    same_class = reference.probabilities.argmax(axis=1) == candidate.probabilities.argmax(axis=1)
    return Parity(
        images=len(reference),
        agreement=float(same_class.mean()),
        max_dp=float(dp.max()),
        mean_dp=float(dp.mean()),
        max_dlogit=float(_difference(reference.logits, candidate.logits).max()),
        max_dheatmap=float(dheatmap.max() / max(float(np.abs(reference.heatmap).max()), 1e-12)),
        heatmap_correlation=float(np.median(correlations)),
        lowest_heatmap_correlation=float(correlations.min()),
    )


def accuracy_change(reference: Outputs, candidate: Outputs, labels: NDArray[np.integer[Any]]) -> AccuracyChange | None:
    """Compares the accuracy of two models on the same images.

    Most images count for both or for neither, so that the difference is known much better than either accuracy: the
    interval is that for paired proportions of Agresti and Min 2005 (https://doi.org/10.1002/sim.1781), which adds half
    an image to each of the four cells, so that it has a width where the models never differ.

    Args:
        reference: its answers.
        candidate: its answers for the same images, in the same order.
        labels: class index of each image; -1 where it is not known: such images do not count.

    Returns:
        None where no label is known.
    """
    known = labels >= 0
    if not known.any():
        return None
    right = [outputs.probabilities.argmax(axis=1)[known] == labels[known] for outputs in (reference, candidate)]
    images = int(known.sum())
    gained, lost = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
    total = images + 2
    middle = (gained - lost) / total
    spread = _NORMAL * np.sqrt(((gained + lost + 1) / total - middle**2) / total)
    return AccuracyChange(
        images=images,
        reference=float(right[0].mean()),
        candidate=float(right[1].mean()),
        difference=(gained - lost) / images,
        low=float(middle - spread),
        high=float(middle + spread),
    )


def _points(share: float) -> str:
    """Returns a share of the images as percentage points, with all of its digits."""
    return exactly(share, form="%").removesuffix("%")


def _heatmap_correlations(reference: Outputs, candidate: Outputs) -> NDArray[np.float64]:
    """Returns the correlation of each image whose reference heatmap varies; a single 1 where none does."""
    rows = np.arange(len(reference))
    top = reference.probabilities.argmax(axis=1)
    maps = [outputs.heatmap[rows, top].reshape(len(rows), -1).astype(np.float64) for outputs in (reference, candidate)]
    first, second = (values - values.mean(axis=1, keepdims=True) for values in maps)
    varies = np.ptp(maps[0], axis=1) > 0
    if not varies.any():
        return np.ones(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (first * second).sum(axis=1) / np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    flat = np.ptp(maps[1], axis=1) == 0
    correlations: NDArray[np.float64] = np.where(flat, 0.0, found)[varies]
    return correlations


def _difference(reference: Any, candidate: Any) -> Any:
    return np.abs(reference.astype(np.float64) - candidate.astype(np.float64))
