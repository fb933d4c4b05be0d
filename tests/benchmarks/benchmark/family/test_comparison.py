"""Accuracy and agreement of a model against the first, with intervals of independent images."""

from dataclasses import replace

import numpy as np
import pytest

from ctonnx.parity.intervals import share_interval
from ctonnx.parity.outputs import Outputs
from ctonnx_bench.benchmark.family.comparison import accuracy_of, agreement_interval, compare_outputs
from ctonnx_bench.benchmark.family.images import FamilyImages
from ctonnx_bench.cases.images import CheckImages

LABELS = np.array([0, 1] * 10)


def outputs(wrong: int) -> Outputs:
    predicted = LABELS.copy()
    predicted[:wrong] = 1 - predicted[:wrong]
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)[predicted]
    return Outputs(probabilities, np.log(probabilities), np.ones((20, 2, 2, 2), np.float32))


def images(*, effective: float = 20.0, is_labelled: bool = True) -> FamilyImages:
    labels = LABELS if is_labelled else np.full(20, -1)
    return FamilyImages(CheckImages("20 images", np.zeros((20, 1, 1, 3), np.uint8), labels), effective, "test")


def test_accuracy_has_its_interval_and_the_paired_difference() -> None:
    found = accuracy_of(outputs(1), outputs(4), images())
    assert found is not None
    assert (found["images"], found["effective_images"], found["value"]) == (20, 20.0, 0.8)
    assert (found["low"], found["high"]) == share_interval(0.8, 20)
    change = found["change"]
    assert (change["reference"], change["candidate"]) == (0.95, 0.8)
    assert change["difference"] == pytest.approx(-0.15)
    assert change["low"] < -0.15 < change["high"]


def test_intervals_are_wider_where_images_are_alike() -> None:
    alone, alike = (accuracy_of(outputs(1), outputs(4), images(effective=count)) for count in (20.0, 5.0))
    assert alone is not None
    assert alike is not None
    assert (alike["low"], alike["high"]) == share_interval(0.8, 5.0)
    assert alike["change"]["difference"] == alone["change"]["difference"]
    assert alike["change"]["high"] - alike["change"]["low"] > alone["change"]["high"] - alone["change"]["low"]
    parity = compare_outputs(outputs(0), outputs(2))
    assert parity.agreement == 0.9
    assert agreement_interval(parity, images(effective=5.0)) == share_interval(0.9, 5.0)


def test_there_is_no_accuracy_without_labels() -> None:
    assert accuracy_of(outputs(0), outputs(0), images(is_labelled=False)) is None


def test_novelty_of_two_networks_is_not_compared() -> None:
    novel = replace(outputs(0), novelty=np.ones(20, np.float32))
    assert compare_outputs(novel, outputs(0)).novelty_correlation is None
