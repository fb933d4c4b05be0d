"""A rounded number never contradicts the verdict next to it."""

import math

import numpy as np
import pytest

from ctonnx.parity.rounding import cautious, exactly, rounded_down, rounded_up, share_of_percent, shown, threshold_text


@pytest.mark.parametrize(
    ("value", "bounds", "digits", "form", "text"),
    [
        (256 / 259, (0.99,), 1, "%", "98.8%"),
        (0.9896, (0.99,), 0, "%", "98.96%"),
        (0.98996, (0.99,), 1, "%", "98.996%"),
        (0.99, (0.99,), 1, "%", "99.0%"),
        (0.9904, (0.99,), 1, "%", "99.04%"),
        (0.999967, (), 2, "%", "99.997%"),  # one of 30,000 differs: not all
        (0.00003, (), 2, "%", "0.003%"),
        (1.0, (), 2, "%", "100.00%"),
        (1.00004e-4, (1e-4,), 3, "g", "0.000100004"),
        (0.1004, (0.1,), 1, "%", "10.04%"),
        (math.nan, (0.99,), 2, "%", "nan%"),
        (math.inf, (0.99,), 3, "g", "inf"),
    ],
)
def test_number_stays_on_its_side_of_a_bound(
    value: float, bounds: tuple[float, ...], digits: int, form: str, text: str
) -> None:
    assert shown(value, *bounds, digits=digits, form=form) == text  # type: ignore[arg-type]


def test_sign_is_shown_on_request() -> None:
    assert shown(0.1004, 0.1, digits=1, form="%", sign="+") == "+10.04%"
    assert shown(-0.05, 0.1, digits=1, form="%", sign="+") == "-5.0%"


def test_no_share_of_any_number_of_images_is_shown_on_the_other_side() -> None:
    chance = np.random.default_rng(0)
    for images in chance.integers(1, 20_000, 5000).tolist():
        share, bound = int(chance.integers(0, images + 1)) / images, int(chance.integers(0, 1001)) / 1000
        text = float(shown(share, bound, digits=1, form="%").removesuffix("%"))
        asked = float(exactly(bound, digits=1, form="%").removesuffix("%"))
        assert (text >= asked) == (share >= bound), (share, bound)


def test_bound_is_shown_with_all_its_digits() -> None:
    assert exactly(0.98765432, digits=2, form="%") == "98.765432%"
    assert exactly(0.07, form="%") == "7%"  # 0.07 * 100 is slightly more than 7
    assert (exactly(1e-4), exactly(0.005)) == ("0.0001", "0.005")


@pytest.mark.parametrize(
    ("threshold", "text"),
    [
        (0.3156821155172658, "0.315682"),
        (0.3156829999, "0.315682"),
        (0.5, "0.500000"),
        (1.0, "1.000000"),
        (0.99999999, "0.999999"),
        (0.012345678, "0.0123456"),
        (0.1, "0.100000"),
        (1.23456789e-7, "0.000000123456"),
        (math.nextafter(1, 2), "1.0000000000000002"),
        (0.0, "0.000000"),
    ],
)
def test_threshold_has_six_digits_and_is_never_rounded_up(threshold: float, text: str) -> None:
    assert threshold_text(threshold) == text
    assert float(text) <= threshold


def test_differences_are_rounded_up_and_shares_down() -> None:
    assert rounded_up(1.0000001e-4) == 1.01e-4
    assert rounded_up(1e-4) == 1e-4
    assert rounded_up(-0.12341) == -0.123
    assert (rounded_down(0.9899999), rounded_down(0.99), rounded_down(-0.0050001, 5)) == (0.989999, 0.99, -0.00501)
    assert math.isnan(rounded_up(math.nan))
    assert rounded_down(math.inf) == math.inf


def test_percentage_is_the_share_that_was_meant() -> None:
    assert share_of_percent(0.7) == 0.007 > 0.7 / 100
    assert all(share_of_percent(tenths / 10) == float(f"{tenths}e-3") for tenths in range(1001))


@pytest.mark.parametrize(
    ("value", "interval", "up", "text"),
    [
        (0.94996, [0.90049, 0.97551], False, "0.949 [0.900, 0.976]"),
        (0.10001, [0.05099, 0.20001], True, "0.101 [0.050, 0.201]"),
        (0.95, (0.9, 1.0), False, "0.950 [0.900, 1.000]"),
        (0.07, (0.0, 0.07), True, "0.070 [0.000, 0.070]"),
        (0.98765, None, False, "0.987"),
        (None, None, True, "-"),
    ],
)
def test_a_metric_is_not_rounded_in_the_models_favour(
    value: float | None, interval: list[float] | None, up: bool, text: str
) -> None:
    assert cautious(value, interval, up=up) == text
