"""Caveats that a reader of the report must know and that the numbers do not show."""

from dataclasses import replace
from typing import Any

import onnx
import pytest
from tests.export.builders import SAME, SPEC

from ctonnx.parity.acceptance_gates import GATES, Gate
from ctonnx_export.models import ExportedModel
from ctonnx_export.report.caveats import export_caveats
from ctonnx_export.trial import Suspicion, Trial


def fp32(**answered: int) -> ExportedModel:
    return ExportedModel(
        precision="fp32", model=onnx.ModelProto(), spec=SPEC, gate=GATES["fp32"], facts={"answered": answered}
    )


def int8(
    *,
    gate: Gate = GATES["int8"],
    images: int = 280,
    agreement: float = 1.0,
    decided: int | None = 200,
    suspicion: Suspicion | None = None,
    images_calibrated: int = 300,
    blank: int = 0,
    foreign: bool = False,
) -> ExportedModel:
    parity = replace(
        SAME,
        images=images,
        agreement=agreement,
        decision_agreement=1.0 if decided else None,
        decision_images=decided,
    )
    trial = Trial(parity=parity, suspicion=suspicion, milliseconds=1.0, bytes=1, broken=gate.broken(parity))
    calibration = {"images": images_calibrated, "blank": blank, "foreign": foreign, "of": "ct"}
    facts: dict[str, Any] = {"calibration": calibration}
    return ExportedModel(precision="int8", model=onnx.ModelProto(), spec=SPEC, gate=gate, trial=trial, facts=facts)


def test_decisions_that_differ_on_test_images_have_caveats() -> None:
    same = {"images": 100, "opposite": 0, "changed_share": 0.02, "coverage": {}}
    assert export_caveats([replace(int8(), facts={"decisions_on_test": same})]) == ()
    low = {"tumor": {"share": 0.7, "share_interval": [0.6, 0.78], "images": 100, "promised": 0.95}}
    changed = {**same, "opposite": 1, "changed_share": 0.03, "coverage": low}
    assert export_caveats([replace(int8(), facts={"decisions_on_test": changed})]) == (
        "INT8 and FP32 have opposite decisions, positive and negative, on 1 of 100 test images",
        "INT8 decides 3.0% of 100 test images otherwise than FP32, more than the 2% that its gate allows on images "
        "that fitted no threshold",
        "INT8: of the test images of 'tumor', 0.700 [0.600, 0.780] have their class in the prediction set: the whole "
        "interval lies below the coverage of 0.950",
    )


def test_agreement_on_test_images_that_is_below_the_gate_beyond_chance_has_a_caveat() -> None:
    found = {"images": 259, "agreement": 0.988416, "agreement_interval": [0.966457, 0.996053]}
    assert export_caveats([replace(int8(), facts={"agreement_on_test": found})]) == ()
    low = {"images": 259, "agreement": 0.953667, "agreement_interval": [0.920825, 0.973276]}
    assert export_caveats([replace(int8(), facts={"agreement_on_test": low})]) == (
        "INT8 agrees with FP32 on 95.37% [92.08%, 97.33%] of 259 test images: the whole 95 % interval lies below the "
        "99% of its gate",
    )


def test_decisions_that_no_image_compared_have_a_caveat() -> None:
    assert export_caveats([int8(decided=None)]) == (
        "the decisions of INT8 and FP32 were not compared: there is no training image that calibration did not use",
    )
    plain = int8(decided=None)
    assert export_caveats([replace(plain, spec=replace(SPEC, operating_point=None))]) == ()


def test_flawless_export_has_no_caveats() -> None:
    assert export_caveats([fp32(normal=3, tumor=1), int8()]) == ()


def test_network_that_predicts_one_class_for_all_images_has_a_caveat() -> None:
    (caveat,) = export_caveats([fp32(normal=72, tumor=0), int8()])
    assert caveat.startswith("the network predicts 'normal' for all 72 validation images: two such models agree ")


def test_caveats_of_the_training_are_repeated_once() -> None:
    chance = {"accuracy": 0.3, "balanced_accuracy": 0.3, "per_class": {name: {"images": 8} for name in SPEC.classes}}
    spec = replace(SPEC, metrics={"valid": chance})
    models = [replace(fp32(normal=3, tumor=1), spec=spec), replace(int8(), spec=spec)]
    assert export_caveats(models) == (
        "the balanced accuracy of 0.300 on the validation images is no better than chance (0.333)",
        "the accuracy of 0.300 on the validation images is no better than always naming the largest class, 'normal' "
        "(0.333)",
    )


@pytest.mark.parametrize(("images", "agreement", "low"), [(13, 1.0, "77%"), (99, 1.0, "96%"), (10, 0.0, "0%")])
def test_few_compared_images_have_a_caveat_with_the_lower_end_of_the_interval(
    images: int, agreement: float, low: str
) -> None:
    (caveat,) = export_caveats([fp32(normal=3, tumor=1), int8(images=images, agreement=agreement)])
    assert caveat.startswith(
        f"INT8 was compared on only {images} images: its agreement on others may be as low as {low} "
    )


def test_loosened_gate_has_a_caveat_and_a_stricter_one_has_none() -> None:
    loose = replace(GATES["int8"], min_agreement=0.0, max_drop=1.0)
    assert export_caveats([fp32(normal=3, tumor=1), int8(gate=loose)]) == (
        "the gate of INT8 was loosened: it allowed agreement of 0 % instead of 99 % and a loss of accuracy of 100 "
        "points instead of 0.5",
    )
    assert export_caveats([int8(gate=replace(GATES["int8"], min_agreement=1.0, max_drop=0.0))]) == ()


def test_blank_calibration_images_have_a_caveat() -> None:
    assert export_caveats([int8(blank=12)]) == (
        "12 of the 300 calibration images of INT8 have a single colour: they do not calibrate it",
    )


def test_few_calibration_images_and_those_of_another_dataset_have_a_caveat() -> None:
    (few,) = export_caveats([int8(images_calibrated=5)])
    assert few.startswith("INT8 was calibrated on only 5 images: ")
    (foreign,) = export_caveats([int8(foreign=True)])
    assert foreign.startswith("INT8 was calibrated on images of 'ct', not on those that the network was trained on: ")


def test_changed_verdicts_are_counted_in_both_directions() -> None:
    assert export_caveats([int8(suspicion=Suspicion(lost=3, gained=1))]) == (
        "INT8 and FP32 disagree on 'suspicious' for 4 of 280 images (3 no longer suspicious, 1 newly suspicious), "
        "which the gate does not check",
    )
    assert export_caveats([int8(suspicion=Suspicion(lost=0, gained=0))]) == ()
