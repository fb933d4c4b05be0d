"""What a reader of the figures is told, since the figures do not say it themselves."""

from dataclasses import replace
from typing import Any

import onnx
import pytest
from tests.export.report.test_markdown import SPEC

from ctonnx.parity.comparison import Parity
from ctonnx.parity.gates import GATES, Gate
from ctonnx_export.models import ExportedModel
from ctonnx_export.report.caveats import cautions
from ctonnx_export.trial import Suspicion, Trial

SAME = Parity(
    images=280,
    agreement=1.0,
    max_dp=0.0,
    mean_dp=0.0,
    max_dlogit=0.0,
    max_dheatmap=0.0,
    heatmap_correlation=1.0,
    lowest_heatmap_correlation=1.0,
)


def fp32(**answered: int) -> ExportedModel:
    return ExportedModel(
        precision="fp32", model=onnx.ModelProto(), spec=SPEC, gate=GATES["fp32"], facts={"answered": answered}
    )


def int8(
    *,
    gate: Gate = GATES["int8"],
    images: int = 280,
    agreement: float = 1.0,
    suspicion: Suspicion | None = None,
    images_calibrated: int = 300,
    blank: int = 0,
    foreign: bool = False,
) -> ExportedModel:
    parity = replace(SAME, images=images, agreement=agreement)
    trial = Trial(parity=parity, suspicion=suspicion, milliseconds=1.0, bytes=1, broken=gate.broken(parity))
    calibration = {"images": images_calibrated, "blank": blank, "foreign": foreign, "of": "ct"}
    facts: dict[str, Any] = {"calibration": calibration}
    return ExportedModel(precision="int8", model=onnx.ModelProto(), spec=SPEC, gate=gate, trial=trial, facts=facts)


def test_nothing_is_said_of_an_export_without_a_catch() -> None:
    assert cautions([fp32(normal=3, tumor=1), int8()]) == ()


def test_network_that_gives_all_images_one_class_is_told() -> None:
    (caution,) = cautions([fp32(normal=72, tumor=0), int8()])
    assert caution.startswith("the network answers 'normal' to all 72 validation images: two models that do so agree ")


def test_caveats_that_the_training_gave_are_repeated_once() -> None:
    chance = {"accuracy": 0.3, "balanced_accuracy": 0.3, "per_class": {name: {"images": 8} for name in SPEC.classes}}
    spec = replace(SPEC, metrics={"valid": chance})
    models = [replace(fp32(normal=3, tumor=1), spec=spec), replace(int8(), spec=spec)]
    assert cautions(models) == (
        "the balanced accuracy of 0.300 on the validation images is no better than chance (0.333)",
        "the accuracy of 0.300 on the validation images is no better than always naming the largest class, 'normal' "
        "(0.333)",
    )


@pytest.mark.parametrize(("images", "agreement", "low"), [(13, 1.0, "77%"), (99, 1.0, "96%"), (10, 0.0, "0%")])
def test_few_images_are_told_with_what_their_agreement_is_worth(images: int, agreement: float, low: str) -> None:
    (caution,) = cautions([fp32(normal=3, tumor=1), int8(images=images, agreement=agreement)])
    assert caution.startswith(
        f"INT8 was compared on {images} images only: its agreement may as well be {low} on others"
    )


def test_loosened_gate_leaves_its_trace_and_a_stricter_one_none() -> None:
    loose = replace(GATES["int8"], min_agreement=0.0, max_drop=1.0)
    assert cautions([fp32(normal=3, tumor=1), int8(gate=loose)]) == (
        "INT8's gate was loosened: it let pass agreement of 0 %, not 99 % and a loss of accuracy of 100 points, not "
        "0.5",
    )
    assert cautions([int8(gate=replace(GATES["int8"], min_agreement=1.0, max_drop=0.0))]) == ()


def test_blank_images_among_those_calibrated_on_are_told() -> None:
    assert cautions([int8(blank=12)]) == (
        "12 of the 300 images that INT8 was calibrated on have one colour: they calibrate nothing",
    )


def test_few_images_to_calibrate_on_and_such_as_are_not_the_runs_are_told() -> None:
    (few,) = cautions([int8(images_calibrated=5)])
    assert few.startswith("INT8 was calibrated on 5 images only: ")
    (foreign,) = cautions([int8(foreign=True)])
    assert foreign.startswith("INT8 was calibrated on images of 'ct', not on those that the network was trained on: ")


def test_changed_answers_to_suspicious_are_counted_each_way() -> None:
    assert cautions([int8(suspicion=Suspicion(lost=3, gained=1))]) == (
        "INT8 answers 'suspicious' otherwise than FP32 on 4 of 280 images (3 no longer suspicious, 1 newly), which its "
        "gate does not look at",
    )
    assert cautions([int8(suspicion=Suspicion(lost=0, gained=0))]) == ()
