"""Gates for a few golden inputs, whose share of 99 % is not a whole number of images."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from ctonnx.parity.acceptance_gates import Bound, BrokenBound, Gate
from ctonnx.parity.comparison import compare
from ctonnx.parity.outputs import Outputs
from ctonnx.parity.rounding import exactly

__all__ = ["Allowance", "allow", "disagreements"]

_LOOSEST: Mapping[Bound, Any] = {
    "max_dp": 1.0,
    "min_heatmap_correlation": -1.0,
    "max_dnovelty": None,
}  # values that every model keeps


@dataclass(frozen=True)
class Allowance:
    """Bounds for a device on a few images, which may already have been exceeded on the exporting machine.

    Attributes:
        images: Number of images.
        disagreements: Maximum number of images with another predicted class; None allows any.
        reason: Explanation of that number.
        gate: Gate without the excused bounds.
        excused: Bounds that the exported model exceeded on these images.
    """

    images: int
    disagreements: int | None
    reason: str
    gate: Gate
    excused: tuple[BrokenBound, ...] = ()


def allow(gate: Gate, reference: Outputs, exported: Outputs) -> Allowance:
    """Returns the bounds for a device on a few images.

    A share is never rounded: 99 % of fewer than 100 images are all images. If the exported model disagreed with the
    reference on more of these images on the exporting machine, the device may disagree on as many: the model passed the
    gate there on more images. Two images of eight that change places have a rank correlation of 0.976, so there is no
    bound on the novelty's: its values are compared with those at export. Decisions are not compared.
    """
    gate = replace(gate, min_novelty_correlation=None, min_novelty_agreement=None, min_decision_agreement=None)
    images, before = len(reference), disagreements(reference, exported)
    excused = gate.broken(compare(reference, exported))
    loosened: dict[str, Any] = {bound.bound: _LOOSEST[bound.bound] for bound in excused if bound.bound in _LOOSEST}
    kept = replace(gate, **loosened)
    if gate.min_agreement <= 0:
        return Allowance(images, None, "its gate has only a bound on max |dp|", kept, excused)
    by_gate = int((1 - Fraction(repr(gate.min_agreement))) * images)
    share = exactly(gate.min_agreement, form="%").replace("%", " %")
    if before > by_gate:
        reason = f"that many differed on the exporting machine, and its gate of {share} was passed on more images"
        kept = replace(kept, min_agreement=(images - before) / images)
        return Allowance(images, before, reason, kept, excused)
    least = "all of them" if by_gate == 0 else f"at least {images - by_gate}"
    return Allowance(images, by_gate, f"{share} of {images} are {least}", kept, excused)


def disagreements(reference: Outputs, candidate: Outputs) -> int:
    """Returns the number of images with different predicted classes."""
    return int((reference.probabilities.argmax(axis=1) != candidate.probabilities.argmax(axis=1)).sum())
