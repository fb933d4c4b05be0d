"""Each change of the stress test does what its name promises, on grey and on colour images."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ctonnx_train.stress.transforms import TRANSFORMS, Transform

BY_NAME = {transform.name: transform for transform in TRANSFORMS}


def scan(mode: str = "L", width: int = 120, height: int = 80) -> Image.Image:
    """Returns an image that is dark at the left, bright at the right, darker at the bottom, with a square inside."""
    across, down = np.linspace(40, 200, width), np.linspace(1, 0.8, height)
    pixels = down[:, None] * across
    pixels[height // 4 : height // 2, width // 4 : width // 2] = 180
    return Image.fromarray(pixels.round().astype(np.uint8)).convert(mode)


def changed(name: str, strength: float, image: Image.Image | None = None, number: int = 0) -> NDArray[np.float64]:
    return np.asarray(BY_NAME[name].change(image or scan(), strength, number), float)


ORIGINAL = np.asarray(scan(), float)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: transform.name)
def test_a_change_leaves_the_image_alone_keeps_its_mode_and_repeats(transform: Transform, mode: str) -> None:
    image = scan(mode)
    before = image.tobytes()
    for strength in transform.strengths:
        one, again = (transform.change(image, strength, 3) for _ in range(2))
        assert one.mode == mode
        assert one.tobytes() == again.tobytes()
        assert (one.size, one.tobytes()) != (image.size, before)
    assert image.tobytes() == before


@pytest.mark.parametrize(
    "transform", [one for one in TRANSFORMS if len(one.strengths) == 3], ids=lambda transform: transform.name
)
def test_strengths_rise_from_mild_to_strong(transform: Transform) -> None:
    image = scan(width=300, height=200)
    differences = []
    for strength in transform.strengths:
        result = transform.change(image, strength, 0).resize(image.size)
        differences.append(np.abs(np.asarray(result, float) - np.asarray(image, float)).mean())
    assert differences[0] < differences[1] < differences[2]


def test_all_but_the_flip_and_the_inversion_have_three_strengths_and_names_are_unique() -> None:
    assert [one.name for one in TRANSFORMS if len(one.strengths) != 3] == ["mirrored", "inverted"]
    assert len({one.title for one in TRANSFORMS}) == len(BY_NAME) == len(TRANSFORMS)
    for name, strength in (("lower_contrast", 0.6), ("cropped", 0.05), ("jpeg", 50), ("rotated", 5)):
        assert BY_NAME[name].strengths[1] == strength


def test_contrast_keeps_the_mean_and_brightness_keeps_black() -> None:
    assert changed("lower_contrast", 0.6).mean() == pytest.approx(ORIGINAL.mean(), abs=0.5)
    assert changed("lower_contrast", 0.6).std() == pytest.approx(0.6 * ORIGINAL.std(), rel=0.02)
    np.testing.assert_allclose(changed("darker", 0.6), 0.6 * ORIGINAL, atol=0.51)
    np.testing.assert_allclose(changed("brighter", 1.5), (1.5 * ORIGINAL).clip(0, 255), atol=0.51)


def test_gamma_is_the_exponent_and_a_higher_window_is_darker() -> None:
    np.testing.assert_allclose(changed("higher_gamma", 2), 255 * (ORIGINAL / 255) ** 2, atol=0.51)
    np.testing.assert_allclose(changed("window_up", 0.1), (ORIGINAL - 25.5).clip(0), atol=0.51)
    np.testing.assert_allclose(changed("window_down", -0.1), (ORIGINAL + 25.5).clip(0, 255), atol=0.51)


@pytest.mark.parametrize(("margin", "side"), [(0.0, 120), (0.25, 180)])
def test_padding_makes_a_square_with_the_scan_in_its_middle_on_black(margin: float, side: int) -> None:
    padded = changed("padded", margin)
    assert padded.shape == (side, side)
    top, left = (side - 80) // 2, (side - 120) // 2
    np.testing.assert_array_equal(padded[top : top + 80, left : left + 120], ORIGINAL)
    assert padded[:top].max() == padded[top + 80 :].max() == 0


def test_cropping_removes_the_borders_and_resampling_stores_fewer_pixels() -> None:
    np.testing.assert_array_equal(changed("cropped", 0.05), ORIGINAL[4:-4, 6:-6])
    assert changed("resampled", 0.5).shape == (40, 60)


def test_compression_loses_more_at_a_lower_quality() -> None:
    noisy = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    errors = [np.abs(changed("jpeg", quality, noisy) - np.asarray(noisy, float)).mean() for quality in (75, 50, 25)]
    assert 2 < errors[0] < errors[1] < errors[2]


def test_noise_has_its_deviation_and_is_another_for_each_image() -> None:
    flat = Image.new("L", (200, 200), 128)
    first, other = (changed("noise", 10, flat, number) - 128 for number in (0, 1))
    assert first.std() == pytest.approx(10, rel=0.03)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.03
    grey = changed("noise", 10, Image.new("RGB", (40, 40), (128, 128, 128)))
    np.testing.assert_array_equal(grey[:, :, 0], grey[:, :, 2])


def test_blur_is_relative_to_the_longer_side() -> None:
    def spread(size: int) -> float:
        pixels = np.zeros((size, size), np.uint8)
        pixels[:, size // 2 :] = 200
        edge = changed("blurred", 0.8, Image.fromarray(pixels))[size // 2]
        return float(((edge > 20) & (edge < 180)).sum()) / size

    assert spread(800) == pytest.approx(spread(400), rel=0.3)


def test_rotation_turns_half_of_the_images_to_either_side() -> None:
    dot = np.zeros((101, 101), np.uint8)
    dot[8:13, 48:53] = 255
    sides = []
    for number in (0, 1):
        turned = changed("rotated", 10, Image.fromarray(dot), number)
        sides.append(float((turned.sum(0) @ np.arange(101)) / turned.sum()) - 50)
    assert sides == [pytest.approx(-sides[1], abs=0.3), pytest.approx(sides[1])]
    assert abs(sides[0]) == pytest.approx(40 * np.sin(np.radians(10)), abs=0.5)


def test_flip_and_inversion_undo_themselves() -> None:
    np.testing.assert_array_equal(changed("mirrored", 1), ORIGINAL[:, ::-1])
    np.testing.assert_array_equal(changed("inverted", 1), 255 - ORIGINAL)


@pytest.mark.parametrize("share", [0.08, 0.16])
def test_the_mark_is_white_and_in_a_corner_with_its_height(share: float) -> None:
    image = Image.new("L", (500, 400), 60)
    marked = changed("marked", share, image)
    rows, columns = np.nonzero(marked != 60)
    assert marked.max() == 255
    assert columns.max() < 0.25 * 500
    assert 0.5 * share * 400 < rows.max() - rows.min() + 1 <= share * 400
