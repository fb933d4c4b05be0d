"""Drift: alarms are as rare as promised without a change, and a change is found within 200 scans."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from ctonnx.artifacts.decision.usage import QUANTITIES, UsageReference, bins_of
from ctonnx.server.monitoring.drift import LEAST_IMAGES, Drift, compare, last_days

DAY = date(2026, 12, 1)
Images = list[dict[str, str]]


def images(
    count: int,
    random: np.random.Generator,
    *,
    shares: tuple[float, ...] = (0.4, 0.3, 0.3),
    grey: float = 80.0,
    novelty: float = 50.0,
    size: tuple[int, int] = (512, 512),
) -> Images:
    """Returns the bins of images whose quantities depend on each other, as a model's do."""
    labels = random.choice(3, count, p=shares)
    scores = np.clip(np.where(labels > 0, 0.85, 0.1) + random.normal(0, 0.1, count), 0, 1)
    percentiles = np.clip(novelty + random.uniform(-50, 50, count), 0, 100)
    greys = random.normal(grey, 12, count) + 3 * labels
    return [
        bins_of(
            label="abc"[label],
            decision="refer" if percentile > 95 else "positive" if score > 0.5 else "negative",
            score=score,
            novelty_percentile=percentile,
            mean_grey=mean,
            size=size,
        )
        for label, score, percentile, mean in zip(labels, scores, percentiles, greys, strict=True)
    ]


def found(before: Images, now: Images, **options: Any) -> Drift:
    reference, counts = UsageReference.of(before), UsageReference.of(now)
    assert reference is not None
    assert counts is not None
    return compare(reference, counts.counts, since=DAY, until=DAY, **options)


def test_alarms_are_as_rare_as_promised() -> None:
    """With an alarm at 20 % of the months of five looks, instead of 1 % of thirty: at most 24 of 60 months by chance.

    Each month has a reference of its own, and each look the latest 200 scans, so that the looks overlap.
    """
    random, months = np.random.default_rng(1), 0
    for _ in range(60):
        before, stream = images(80, random), images(400, random)
        looks = [stream[start : start + 200] for start in range(0, 201, 50)]
        months += any(found(before, look, looks=5, false_alarms=0.2).alarms for look in looks)
    assert months <= 24


@pytest.mark.parametrize(
    ("change", "quantity"),
    [
        ({"grey": 110.0}, "brightness"),
        ({"shares": (0.05, 0.15, 0.8)}, "class"),
        ({"novelty": 90.0}, "novelty"),
        ({"size": (768, 768)}, "size"),
    ],
)
def test_change_is_found_within_200_scans(change: dict[str, Any], quantity: str) -> None:
    random = np.random.default_rng(2)
    for _ in range(5):
        assert quantity in found(images(80, random), images(200, random, **change)).alarms


def test_same_counts_give_the_same_result_and_no_alarm() -> None:
    random = np.random.default_rng(3)
    before, now = images(80, random), images(200, random)
    result = found(before, now)
    assert result == found(before, now)
    assert result.alarms == []
    assert [one.quantity for one in result.comparisons] == list(QUANTITIES)
    assert result.level == pytest.approx(0.01 / 30 / 6)
    assert (result.images, result.reference_images) == (200, 80)


@pytest.mark.parametrize(("before", "now"), [(LEAST_IMAGES - 1, 300), (300, LEAST_IMAGES - 1)])
def test_too_few_images_are_not_compared(before: int, now: int) -> None:
    random = np.random.default_rng(4)
    result = found(images(before, random), images(now, random, grey=200.0))
    assert (result.has_enough, result.alarms) == (False, [])
    assert found(images(LEAST_IMAGES, random), images(LEAST_IMAGES, random, grey=200.0)).alarms


def test_quantity_that_the_model_lacks_is_left_out() -> None:
    random = np.random.default_rng(5)
    before = [{"class": one["class"]} for one in images(80, random)]
    result = found(before, images(200, random))
    assert [one.quantity for one in result.comparisons] == ["class"]
    assert result.level == pytest.approx(0.01 / 30)


@pytest.mark.parametrize("looks", [30, 1000])
def test_complete_change_is_found_however_often_one_looks(looks: int) -> None:
    before, now = [{"class": "a"}] * 80, [{"class": "b"}] * 200
    assert found(before, now, looks=looks).alarms == ["class"]


def test_latest_days_have_the_images() -> None:
    days = {DAY + timedelta(number): 60 for number in range(9)}
    assert last_days(days, 200) == DAY + timedelta(5)
    assert last_days(days, 60) == DAY + timedelta(8)
    assert last_days(days, 10_000) == DAY
    assert last_days({}, 1) is None
