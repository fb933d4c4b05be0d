"""What a reader of an export's figures has to know, since the figures do not say it themselves."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ctonnx.artifacts.caveats import model_caveats
from ctonnx.parity.gates import GATES
from ctonnx.parity.rounding import rounded_down
from ctonnx_export.models import ExportedModel

__all__ = ["cautions"]

_FEW = 100  # images: an agreement of 99 % tells nothing of fewer, and the ranges of activations are not known of fewer


def cautions(models: Sequence[ExportedModel]) -> tuple[str, ...]:
    """Returns a sentence for each thing that makes the figures say less than they seem to.

    Args:
        models: FP32 first; those that were refused too.
    """
    return tuple(caution for made in models for caution in (*_of_the_network(made), *_of_the_comparison(made)))


def _of_the_network(made: ExportedModel) -> Iterator[str]:
    if made.precision == "fp32":  # what the network is, the other precisions are too
        yield from model_caveats(made.spec.metrics, made.spec.operating_point)
    answered = made.facts.get("answered", {})
    given = [name for name, count in answered.items() if count]
    if len(given) == 1:
        yield (
            f"the network answers '{given[0]}' to all {answered[given[0]]} validation images: two models that do so "
            "agree whatever they have learned; train it further"
        )


def _of_the_comparison(made: ExportedModel) -> Iterator[str]:
    if made.trial is None:
        return
    name, parity = made.precision.upper(), made.trial.parity
    if parity.images < _FEW:
        yield (
            f"{name} was compared on {parity.images} images only: its agreement may as well be "
            f"{rounded_down(parity.agreement_interval[0], 2):.0%} on others (lower end of the 95 % interval); more "
            "validation or training images tell it better"
        )
    if (changed := made.trial.suspicion) and (changed.lost or changed.gained):
        yield (
            f"{name} answers 'suspicious' otherwise than FP32 on {changed.lost + changed.gained} of {parity.images} "
            f"images ({changed.lost} no longer suspicious, {changed.gained} newly), which its gate does not look at"
        )
    usual = GATES[made.precision]
    loosened = []
    if made.gate.min_agreement < usual.min_agreement:
        loosened.append(f"agreement of {made.gate.min_agreement * 100:g} %, not {usual.min_agreement * 100:g} %")
    if made.gate.max_drop is not None and usual.max_drop is not None and made.gate.max_drop > usual.max_drop:
        loosened.append(f"a loss of accuracy of {made.gate.max_drop * 100:g} points, not {usual.max_drop * 100:g}")
    if loosened:
        yield f"{name}'s gate was loosened: it let pass {' and '.join(loosened)}"
    yield from _of_the_calibration(name, made.facts.get("calibration"))


def _of_the_calibration(name: str, calibration: Mapping[str, Any] | None) -> Iterator[str]:
    if calibration is None:
        return
    images = calibration["images"]
    if images < _FEW:
        yield (
            f"{name} was calibrated on {images} images only: values that these do not have are cut off in others; 100 "
            "or more are better"
        )
    if calibration["foreign"]:
        yield (
            f"{name} was calibrated on images of '{calibration['of']}', not on those that the network was trained on: "
            "they have to be of the kind that it will see"
        )
    if blank := calibration["blank"]:
        yield f"{blank} of the {images} images that {name} was calibrated on have one colour: they calibrate nothing"
