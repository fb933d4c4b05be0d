"""Caveats that a reader of an export's report must know and that the numbers do not show."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ctonnx.artifacts.caveats import caveats_of, split_caveats
from ctonnx.parity.acceptance_gates import GATES
from ctonnx.parity.rounding import exactly, rounded_down, shown
from ctonnx.system.text import counted
from ctonnx_export.models import ExportedModel

__all__ = ["export_caveats"]

_FEW = 100  # images: fewer cannot show an agreement of 99 %, and do not cover the ranges of the activations


def export_caveats(models: Sequence[ExportedModel]) -> tuple[str, ...]:
    """Returns a sentence for each reason why the numbers of all models, FP32 first, show less than they seem to."""
    return tuple(caveat for model in models for caveat in (*_network_caveats(model), *_comparison_caveats(model)))


def _network_caveats(model: ExportedModel) -> Iterator[str]:
    if model.precision == "fp32":  # the other precisions have the same caveats
        yield from caveats_of(model.spec)
        if model.spec.data.get("folds"):
            yield (
                "the images that the files are compared on trained the model, too, as a training in folds keeps none "
                "apart: agreement and loss of accuracy may be worse on others"
            )
    if parent := model.facts.get("parent"):
        yield (
            f"the network was compressed from that of '{parent['name']}' (weights {parent['weights_sha256'][:12]}): it "
            f"has {exactly(parent['operations'], digits=1, form='%')} of its multiplications, and other outputs; "
            "compression.md in the run's folder compares the two"
        )
    counts = model.facts.get("answered", {})
    predicted = [name for name, count in counts.items() if count]
    if len(predicted) == 1:
        yield (
            f"the network predicts '{predicted[0]}' for all {counts[predicted[0]]} validation images: two such models "
            "agree regardless of what they have learned; train it further"
        )


def _comparison_caveats(model: ExportedModel) -> Iterator[str]:
    if model.trial is None:
        return
    name, gate, parity = model.precision.upper(), model.gate, model.trial.parity
    if parity.images < _FEW:
        yield (
            f"{name} was compared on only {parity.images} images: its agreement on others may be as low as "
            f"{rounded_down(parity.agreement_interval[0], 2):.0%} (lower end of the 95 % interval); more validation or "
            "training images give a better estimate"
        )
    if (changed := model.trial.suspicion) and (changed.lost or changed.gained):
        yield (
            f"{name} and FP32 disagree on 'suspicious' for {changed.lost + changed.gained} of {parity.images} images "
            f"({changed.lost} no longer suspicious, {changed.gained} newly suspicious), which the gate does not check"
        )
    if model.spec.operating_point and parity.decision_agreement is None:
        yield (
            f"the decisions of {name} and FP32 were not compared: there is no training image that calibration did not "
            "use"
        )
    yield from _test_caveats(name, model.facts.get("agreement_on_test"), gate.min_agreement)
    yield from _decision_caveats(name, model.facts.get("decisions_on_test"), gate.min_decision_agreement)
    usual = GATES[model.precision]
    loosened = []
    if gate.min_agreement < usual.min_agreement:
        loosened.append(f"agreement of {gate.min_agreement * 100:g} % instead of {usual.min_agreement * 100:g} %")
    if gate.max_drop is not None and usual.max_drop is not None and gate.max_drop > usual.max_drop:
        loosened.append(f"a loss of accuracy of {gate.max_drop * 100:g} points instead of {usual.max_drop * 100:g}")
    if loosened:
        yield f"the gate of {name} was loosened: it allowed {' and '.join(loosened)}"
    yield from _calibration_caveats(name, model.facts.get("calibration"))


def _test_caveats(name: str, found: Mapping[str, Any] | None, least: float) -> Iterator[str]:
    """Yields the caveat of an agreement on test images that is below the gate, beyond chance."""
    if found and found["agreement_interval"][1] < least:
        agreement, low, high = (
            shown(value, least, digits=2, form="%") for value in (found["agreement"], *found["agreement_interval"])
        )
        yield (
            f"{name} agrees with FP32 on {agreement} [{low}, {high}] of {counted(found['images'], 'test image')}: the "
            f"whole 95 % interval lies below the {exactly(least, form='%')} of its gate"
        )


def _decision_caveats(name: str, found: Mapping[str, Any] | None, least: float | None) -> Iterator[str]:
    """Yields the caveats of the decisions on test images: no model is selected on these, so no gate uses them."""
    if not found:
        return
    if found["opposite"]:
        yield (
            f"{name} and FP32 have opposite decisions, positive and negative, on {found['opposite']} of "
            f"{counted(found['images'], 'test image')}"
        )
    if least is not None and found["changed_share"] > 1 - least:
        yield (
            f"{name} decides {shown(found['changed_share'], 1 - least, digits=1, form='%')} of "
            f"{counted(found['images'], 'test image')} otherwise than FP32, more than the "
            f"{exactly(round(1 - least, 6), form='%')} that its gate allows on images that fitted no threshold"
        )
    yield from (
        f"{name}: {caveat}" for caveat in split_caveats({}, None, "test", {"coverage": found.get("coverage", {})})
    )


def _calibration_caveats(name: str, calibration: Mapping[str, Any] | None) -> Iterator[str]:
    if calibration is None:
        return
    images = calibration["images"]
    if images < _FEW:
        yield f"{name} was calibrated on only {images} images: values beyond their range are clipped; use 100 or more"
    if calibration["foreign"]:
        yield (
            f"{name} was calibrated on images of '{calibration['of']}', not on those that the network was trained on: "
            "they must be similar to the images that it will see"
        )
    if blank := calibration["blank"]:
        yield f"{blank} of the {images} calibration images of {name} have a single colour: they do not calibrate it"
