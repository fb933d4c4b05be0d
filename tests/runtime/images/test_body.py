"""The body's bounding box: the same for a scan that is shifted or padded, without the table, letters and margins."""

import time

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ctonnx.images import Preprocessing, to_pixels
from ctonnx.images.body import body_box
from ctonnx.images.preprocessing import WHOLE, region

BODY = (100, 150, 420, 380)
CELL = 6  # pixels; of the grid for 512 pixels


def scan(size: int = 512, shift: tuple[int, int] = (0, 0), air: int = 0) -> Image.Image:
    """Returns a grey ellipse with two dark lungs and a bright spine."""
    image = Image.new("L", (size, size), air)
    pen = ImageDraw.Draw(image)
    for box, level in (
        (BODY, 150),
        ((140, 190, 240, 340), 40),
        ((280, 190, 380, 340), 40),
        ((245, 300, 275, 350), 240),
    ):
        left, top, right, bottom = np.add(box, shift * 2).tolist()
        pen.ellipse((left, top, right - 1, bottom - 1), fill=level)
    return image


def close(found: tuple[int, ...], expected: tuple[int, ...], cells: int = 1) -> bool:
    return max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= cells * CELL


def test_box_contains_the_body_and_little_else() -> None:
    left, top, right, bottom = body_box(scan())
    assert (left, top, right, bottom) == (102, 150, 420, 378)
    assert close((left, top, right, bottom), BODY)


@pytest.mark.parametrize("shift", [(-60, -100), (37, 41), (80, 120)])
def test_box_moves_with_the_body(shift: tuple[int, int]) -> None:
    assert close(body_box(scan(shift=shift)), tuple(np.add(BODY, shift * 2).tolist()))


def test_content_of_a_padded_scan_is_the_same() -> None:
    padded = Image.new("L", (700, 600))
    padded.paste(scan(), (150, 60))
    seen, of_padded = (to_pixels(image, Preprocessing(size=64, crop="body")).astype(int) for image in (scan(), padded))
    assert np.abs(seen - of_padded).mean() < 8
    plain = to_pixels(padded, Preprocessing(size=64)).astype(int)
    assert np.abs(to_pixels(scan(), Preprocessing(size=64)).astype(int) - plain).mean() > 15


@pytest.mark.parametrize("contrast", [0.3, 0.6, 1.05])
def test_box_does_not_depend_on_contrast_and_air(contrast: float) -> None:
    assert close(body_box(scan().point(lambda value: round(value * contrast))), BODY)
    assert close(body_box(scan(air=40)), BODY)


def test_table_letters_and_frame_are_left_out() -> None:
    image = scan()
    pen = ImageDraw.Draw(image)
    pen.line((40, 420, 480, 420), fill=200, width=6)  # the table
    pen.text((8, 8), "R 12", fill=255, font_size=40)
    pen.rectangle((0, 0, 511, 511), outline=255, width=3)
    assert close(body_box(image), BODY)


def test_white_margins_are_left_out() -> None:
    image = Image.new("L", (800, 640), 255)
    image.paste(scan(), (200, 50))
    assert close(body_box(image), tuple(np.add(BODY, (200, 50) * 2).tolist()), cells=2)


def test_arms_belong_to_the_body_and_small_parts_do_not() -> None:
    image = scan()
    ImageDraw.Draw(image).ellipse((10, 220, 80, 330), fill=150)
    ImageDraw.Draw(image).ellipse((460, 20, 490, 50), fill=150)
    assert close(body_box(image), (10, 150, 420, 380))


@pytest.mark.parametrize("level", [0, 7, 128, 255])
@pytest.mark.parametrize("size", [(1, 1), (3, 500), (512, 512)])
def test_blank_image_is_taken_whole(level: int, size: tuple[int, int]) -> None:
    assert body_box(Image.new("L", size, level)) == (0, 0, *size)


def test_small_box_is_no_body() -> None:
    image = Image.new("L", (512, 512))
    ImageDraw.Draw(image).ellipse((100, 100, 200, 400), fill=200)
    assert body_box(image) == (0, 0, 512, 512)


def test_color_is_cropped_by_its_brightness() -> None:
    colored = scan().convert("RGB")
    assert body_box(colored) == body_box(scan())
    grey, rgb = (to_pixels(colored, Preprocessing(size=64, crop="body", color=color)) for color in ("grey", "rgb"))
    assert np.array_equal(grey, rgb)


def test_pixels_are_those_of_the_cropped_scan() -> None:
    cropped = scan().crop(body_box(scan()))
    for resize in ("stretch", "pad"):
        expected = to_pixels(cropped, Preprocessing(size=64, resize=resize))
        assert np.array_equal(to_pixels(scan(), Preprocessing(size=64, crop="body", resize=resize)), expected)


def test_region_is_in_shares_of_the_image() -> None:
    assert region(scan(), Preprocessing()) == WHOLE
    assert region(scan(), Preprocessing(crop="body")) == (102 / 512, 150 / 512, 420 / 512, 378 / 512)


def test_real_time() -> None:
    """A grid of at most 96 cells keeps it far below the time of decoding, even on a busy machine."""
    image, times = scan(), []
    for _ in range(20):
        start = time.perf_counter()
        body_box(image)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.02
