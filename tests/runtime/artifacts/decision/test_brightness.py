"""The range of the mean grey value."""

import pytest

from ctonnx.artifacts.decision.brightness import BrightnessRange


@pytest.mark.parametrize(
    ("mean", "word"), [(0, "darker"), (64.9, "darker"), (65, None), (128, None), (204.2, None), (204.4, "brighter")]
)
def test_image_is_compared_with_the_limits(mean: float, word: str | None) -> None:
    known = BrightnessRange(low=100, high=177, images=3)
    assert known.limits == pytest.approx((65, 204.3))
    assert known.sentence() == "its mean grey is below 65 or above 204 of 255"
    caution = known.caution(mean)
    assert (caution is None) if word is None else (caution is not None and word in caution and "100 to 177" in caution)


def test_one_image_of_many_does_not_widen_the_range() -> None:
    means = [float(value) for value in range(50, 151)]
    usual, odd = BrightnessRange.of(means), BrightnessRange.of([*means, 0.0])
    assert usual == BrightnessRange(low=51, high=149, images=101)
    assert odd is not None
    assert odd.low > 49


def test_range_of_black_and_white_images_has_no_limits() -> None:
    known = BrightnessRange(low=0, high=255, images=2)
    assert [known.caution(mean) for mean in (0, 255)] == [None, None]


def test_no_images_have_no_range() -> None:
    assert BrightnessRange.of([]) is None
    with pytest.raises(ValueError, match="low end of the brightness below the high one"):
        BrightnessRange(low=9, high=8, images=2)
