"""What a reader of the figures is told, since the figures do not say it themselves."""

from dataclasses import replace
from typing import Any

import onnx
import pytest

from ctonnx.parity import GATES, Gate, Parity
from ctonnx_export.cautions import cautions
from ctonnx_export.making import Made
from ctonnx_export.search import Trial

from .test_report import SPEC

SAME = Parity(
    images=280,
    agreement=1.0,
    max_dp=0.0,
    mean_dp=0.0,
    max_dlogit=0.0,
    max_dheatmap=0.0,
    heatmap_correlation=1.0,
)


def fp32(**answered: int) -> Made:
    return Made(precision="fp32", model=onnx.ModelProto(), spec=SPEC, gate=GATES["fp32"], facts={"answered": answered})


def int8(*, gate: Gate = GATES["int8"], images: int = 280, agreement: float = 1.0, **calibration: Any) -> Made:
    parity = replace(SAME, images=images, agreement=agreement)
    trial = Trial(
        parity=parity,
        change=None,
        validation=None,
        suspicion=None,
        milliseconds=1.0,
        bytes=1,
        broken=gate.broken(parity),
    )
    facts = {"calibration": {"images": 300, "asked_for": 300, "blank": 0, **calibration}}
    return Made(precision="int8", model=onnx.ModelProto(), spec=SPEC, gate=gate, trial=trial, facts=facts)


def test_nothing_is_said_of_an_export_without_a_catch() -> None:
    assert cautions([fp32(normal=3, tumor=1), int8()]) == ()


def test_network_that_gives_all_images_one_class_is_told() -> None:
    (caution,) = cautions([fp32(normal=72, tumor=0), int8()])
    assert caution.startswith("the network answers 'normal' to all 72 validation images: two models that do so agree ")


@pytest.mark.parametrize(("images", "agreement", "low"), [(13, 1.0, "77%"), (99, 1.0, "96%"), (10, 0.0, "0%")])
def test_few_images_are_told_with_what_their_agreement_is_worth(images: int, agreement: float, low: str) -> None:
    (caution,) = cautions([fp32(normal=3, tumor=1), int8(images=images, agreement=agreement)])
    assert caution.startswith(
        f"INT8 was compared on {images} images only: its agreement may as well be {low} on others"
    )


def test_loosened_gate_leaves_its_trace_and_a_stricter_one_none() -> None:
    loose = replace(GATES["int8"], min_agreement=0.0, max_drop=1.0)
    assert cautions([fp32(normal=3, tumor=1), int8(gate=loose)]) == (
        "INT8 had to agree in 0 % of the images only (--min-agreement), not in 99 %",
        "INT8 was allowed to lose 100 points of accuracy (--max-drop), not 0.5",
    )
    assert cautions([int8(gate=replace(GATES["int8"], min_agreement=1.0, max_drop=0.0))]) == ()


def test_blank_images_among_those_calibrated_on_are_told() -> None:
    assert cautions([int8(blank=12)]) == (
        "12 of the 300 images that INT8 was calibrated on have one colour each: they calibrate nothing",
    )
