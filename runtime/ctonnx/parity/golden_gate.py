"""What a gate asks of a few golden inputs, where a share of 99 % is no whole number of images, and why."""

from dataclasses import dataclass, replace
from fractions import Fraction

from ctonnx.parity.comparison import compare
from ctonnx.parity.gates import BrokenBound, Gate
from ctonnx.parity.outputs import Outputs
from ctonnx.parity.rounding import exactly

__all__ = ["Allowance", "allow", "disagreements"]


@dataclass(frozen=True)
class Allowance:
    """What a device must keep on a few images, on which the gate was perhaps not kept at the export either.

    Attributes:
        images: The number of images.
        disagreements: The number of images that may have another most probable class; None allows any.
        reason: Why so many, in words.
        gate: The gate, without what the exported model's own answers broke on these images.
        excused: The bounds that they broke.
    """

    images: int
    disagreements: int | None
    reason: str
    gate: Gate
    excused: tuple[BrokenBound, ...] = ()


def allow(gate: Gate, reference: Outputs, exported: Outputs) -> Allowance:
    """Returns what a device must keep on a few images.

    A share that the images must reach is never rounded: of fewer than 100 images, 99 % are all. Only where the model's
    own answers differed from the reference's on the exporting machine, on some of these few images of all those that
    its gate looked at, may the device's differ on as many: it is not to blame.

    Args:
        gate: The gate that the model passed at its export, on other and more images.
        reference: The original's answers for the few images.
        exported: The model's own, where it was exported.
    """
    images, before = len(reference), disagreements(reference, exported)
    excused = gate.broken(compare(reference, exported))
    names = {bound.bound for bound in excused}
    kept = replace(
        gate,
        max_dp=1.0 if "max_dp" in names else gate.max_dp,
        min_heatmap_correlation=-1.0 if "min_heatmap_correlation" in names else gate.min_heatmap_correlation,
    )
    if gate.min_agreement <= 0:
        return Allowance(images, None, "its gate bounds max |dp| alone", kept, excused)
    by_gate = int((1 - Fraction(repr(gate.min_agreement))) * images)
    asked = exactly(gate.min_agreement, form="%").replace("%", " %")
    if before > by_gate:
        reason = f"so many differed where it was exported, and its gate of {asked} was passed on more images"
        kept = replace(kept, min_agreement=(images - before) / images)
        return Allowance(images, before, reason, kept, excused)
    least = "all of them" if by_gate == 0 else f"at least {images - by_gate}"
    return Allowance(images, by_gate, f"{asked} of {images} are {least}", kept, excused)


def disagreements(reference: Outputs, candidate: Outputs) -> int:
    """Returns for how many images the most probable class differs."""
    return int((reference.probabilities.argmax(axis=1) != candidate.probabilities.argmax(axis=1)).sum())
