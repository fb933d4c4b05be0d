"""The remaining time of a training, from its last epochs, the image sizes and the remaining phases."""

from collections.abc import Sequence
from typing import Any

import pytest

from ctonnx_train.training.loop.progress import seconds_left, time_left
from ctonnx_train.training.recipe import TrainSettings, plan

SCRATCH = plan(TrainSettings(weights="none", epochs=10))
WHOLE = plan(TrainSettings(weights="none", epochs=10, full_size=True))
PRETRAINED = plan(TrainSettings(epochs=9))


def rows(*seconds: float, phase: str = "scratch", size: int = 128, valid: float = 1.0) -> list[dict[str, Any]]:
    return [{"phase": phase, "image_size": size, "seconds": value + valid, "train_seconds": value} for value in seconds]


@pytest.mark.parametrize(("seconds", "left"), [([9.0], 90.0), ([9.0] * 4, 60.0), ([9.0] * 10, 0.0)])
def test_epochs_that_remain_take_as_long_as_those_that_ended(seconds: Sequence[float], left: float) -> None:
    assert seconds_left(rows(*seconds), WHOLE, 128) == pytest.approx(left)


def test_a_machine_that_got_busy_counts_soon_and_one_slow_epoch_does_not() -> None:
    assert seconds_left(rows(1, 1, 1, 9, 9), WHOLE, 128) == pytest.approx(5 * 10)
    assert seconds_left(rows(9, 9, 90, 9, 9), WHOLE, 128) == pytest.approx(5 * 10)


def test_larger_images_take_longer_and_validation_does_not() -> None:
    """Of ten epochs, the last three have images of 64, 96 and 128 pixels where seven have 64."""
    left = seconds_left(rows(*[4.0] * 7, size=64), SCRATCH, 128)
    assert left == pytest.approx((9 + 1) + 2 * (16 + 1))


def test_a_phase_that_has_not_begun_is_judged_by_the_one_that_runs() -> None:
    assert seconds_left(rows(9, phase="head"), PRETRAINED, 128) == pytest.approx(8 * 10)


def test_a_phase_that_ended_early_is_over() -> None:
    found = [*rows(1, phase="head"), *rows(9, 9, phase="fine-tune")]
    assert seconds_left(found, PRETRAINED, 128) == pytest.approx(4 * 10)


def test_an_early_end_may_come_where_a_phase_has_patience() -> None:
    assert time_left(rows(9), WHOLE, 128) == "about 2 min left"
    assert time_left(rows(9, phase="head"), PRETRAINED, 128) == "at most 2 min left"
    assert time_left(rows(*[9.0] * 10), WHOLE, 128) == ""
