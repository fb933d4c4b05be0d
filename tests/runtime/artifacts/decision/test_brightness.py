"""The range of the mean grey value."""

import pytest

from ctonnx.artifacts.decision.brightness import BrightnessRange


@pytest.mark.parametrize(
    ("mean", "word"), [(0, "darker"), (69.9, "darker"), (70, None), (128, None), (200.3, None), (200.5, "brighter")]
)
def test_image_is_compared_with_the_darkest_and_the_brightest(mean: float, word: str | None) -> None:
    known = BrightnessRange.of([100.0, 177.0, 176.4286])
    assert known == BrightnessRange(darkest=100, brightest=177, images=3)
    caution = known.caution(mean)
    assert (caution is None) if word is None else (caution is not None and word in caution and "100 to 177" in caution)


def test_contrast_that_a_training_image_could_have_is_no_caution() -> None:
    known = BrightnessRange(darkest=0, brightest=255, images=2)
    assert [known.caution(mean) for mean in (0, 255)] == [None, None]


def test_no_images_have_no_range() -> None:
    assert BrightnessRange.of([]) is None
    with pytest.raises(ValueError, match="darkest image below the brightest"):
        BrightnessRange(darkest=9, brightest=8, images=2)
