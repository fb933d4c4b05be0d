"""What a reader of an export's figures has to know, since the figures do not say it themselves."""

from collections.abc import Iterator, Sequence
from math import sqrt

from ctonnx.parity import GATES
from ctonnx_export.making import Made

__all__ = ["cautions"]

_FEW = 100  # images: an agreement of 99 % tells nothing of fewer
_NORMAL = 1.959964  # of a 95 % interval


def cautions(models: Sequence[Made]) -> tuple[str, ...]:
    """Returns a sentence for each thing that makes the figures say less than they seem to.

    Args:
        models: FP32 first; those that were refused too.
    """
    return tuple(caution for made in models for caution in (*_of_the_network(made), *_of_the_comparison(made)))


def _of_the_network(made: Made) -> Iterator[str]:
    answered = made.facts.get("answered", {})
    given = [name for name, count in answered.items() if count]
    if len(given) == 1:
        yield (
            f"the network answers '{given[0]}' to all {answered[given[0]]} validation images: two models that do so "
            "agree whatever they have learned; train it further"
        )


def _of_the_comparison(made: Made) -> Iterator[str]:
    name = made.precision.upper()
    if made.trial and (images := made.trial.parity.images) < _FEW:
        low = _lower_end(made.trial.parity.agreement, images)
        yield (
            f"{name} was compared on {images} images only: its agreement may as well be {low:.0%} on others (lower end "
            "of the 95 % interval); more validation or training images tell it better"
        )
    usual = GATES[made.precision]
    if made.gate.min_agreement < usual.min_agreement:
        yield (
            f"{name} had to agree in {made.gate.min_agreement * 100:g} % of the images only (--min-agreement), not in "
            f"{usual.min_agreement * 100:g} %"
        )
    if made.gate.max_drop is not None and usual.max_drop is not None and made.gate.max_drop > usual.max_drop:
        yield (
            f"{name} was allowed to lose {made.gate.max_drop * 100:g} points of accuracy (--max-drop), not "
            f"{usual.max_drop * 100:g}"
        )
    if blank := made.facts.get("calibration", {}).get("blank"):
        yield (
            f"{blank} of the {made.facts['calibration']['images']} images that {name} was calibrated on have one "
            "colour each: they calibrate nothing"
        )


def _lower_end(share: float, images: int) -> float:
    """Returns the lower end of Wilson's 95 % interval (1927, https://doi.org/10.1080/01621459.1927.10502953)."""
    square = _NORMAL**2
    spread = _NORMAL * sqrt(share * (1 - share) / images + square / (4 * images**2))
    return (share + square / (2 * images) - spread) / (1 + square / images)
