"""Rule for each Pillow mode, for images converted whole or in tiles."""

import sys
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from tests.runtime.images.image_files import encoded, row

from ctonnx.images import load as load_image
from ctonnx.images import modes


class Rule(NamedTuple):
    """Bytes of an image that is one pixel high, its expected first row, and the tolerance."""

    data: bytes
    width: int
    mode: str
    expected: list[Any]
    tolerance: int = 0


SIXTEEN_BIT = [0, 128, 129, 257, 32768, 65535]
"""128 / 257 rounds to 0, 129 / 257 to 1."""
EIGHT_BIT = [0, 0, 1, 1, 128, 255]
RULES = {
    "1": Rule(b"\x80", 2, "L", [255, 0]),
    "L": Rule(bytes([0, 7, 200]), 3, "L", [0, 7, 200]),
    "LA": Rule(bytes([200, 255, 200, 128, 200, 0]), 3, "L", [200, 100, 0]),
    "La": Rule(bytes([200, 255, 100, 128, 0, 0]), 3, "L", [200, 100, 0]),
    "P": Rule(bytes([1, 0]), 2, "RGB", [[200, 100, 50], [10, 20, 30]]),
    "PA": Rule(bytes([1, 255, 1, 128, 1, 0]), 3, "RGB", [[200, 100, 50], [100, 50, 25], [0, 0, 0]]),
    "RGB": Rule(bytes([200, 100, 50]), 1, "RGB", [[200, 100, 50]]),
    "RGBA": Rule(bytes([200, 100, 50, 128, 9, 9, 9, 0]), 2, "RGB", [[100, 50, 25], [0, 0, 0]]),
    "RGBa": Rule(bytes([100, 50, 25, 128, 0, 0, 0, 0]), 2, "RGB", [[100, 50, 25], [0, 0, 0]]),
    "RGBX": Rule(bytes([200, 100, 50, 0, 1, 2, 3, 255]), 2, "RGB", [[200, 100, 50], [1, 2, 3]]),
    # (255 - c) * (255 - k) / 255
    "CMYK": Rule(bytes([255, 0, 0, 0, 10, 20, 30, 40]), 2, "RGB", [[0, 255, 255], [207, 198, 190]]),
    # JFIF: red is Y + 1.402 (Cr - 128)
    "YCbCr": Rule(bytes([128, 128, 128, 76, 85, 255]), 2, "RGB", [[128, 128, 128], [254, 0, 0]]),
    "HSV": Rule(bytes([0, 255, 255, 85, 255, 255, 170, 0, 99]), 3, "RGB", [[255, 0, 0], [0, 255, 0], [99, 99, 99]]),
    # L* of 0, 50.2 and 100 without colour; sRGB of L* 50.2 is 119.5
    "LAB": Rule(bytes([0, 0, 0, 128, 0, 0, 255, 0, 0]), 3, "RGB", [[0] * 3, [119] * 3, [255] * 3], tolerance=1),
    "I;16": Rule(np.array(SIXTEEN_BIT, "<u2").tobytes(), 6, "L", EIGHT_BIT),
    "I;16L": Rule(np.array(SIXTEEN_BIT, "<u2").tobytes(), 6, "L", EIGHT_BIT),
    "I;16B": Rule(np.array(SIXTEEN_BIT, ">u2").tobytes(), 6, "L", EIGHT_BIT),
    "I;16N": Rule(np.array(SIXTEEN_BIT, "<u2" if sys.byteorder == "little" else ">u2").tobytes(), 6, "L", EIGHT_BIT),
    "I": Rule(np.array([-1000, 0, 3000], np.int32).tobytes(), 3, "L", [0, 64, 255]),
    "F": Rule(np.array([-1, 0, 1, 4], np.float32).tobytes(), 4, "L", [0, 51, 102, 255]),
}


def test_every_mode_of_this_pillow_has_a_rule() -> None:
    assert set(RULES) == set(Image.MODES)


@pytest.mark.parametrize("mode", RULES)
def test_mode_becomes_eight_bits_by_its_rule(mode: str) -> None:
    rule = RULES[mode]
    image = Image.frombytes(mode, (rule.width, 1), rule.data)
    if mode in ("P", "PA"):
        image.putpalette([10, 20, 30, 200, 100, 50])
    found = load_image(image)
    assert (found.mode, found.size) == (rule.mode, (rule.width, 1))
    np.testing.assert_allclose(row(found), rule.expected, rtol=0, atol=rule.tolerance)


def test_lab_red_becomes_srgb_red() -> None:
    red = Image.frombytes("LAB", (1, 1), bytes([138, 81, 70]))  # L* 54.3, a* 80.8, b* 69.9 at D50
    np.testing.assert_allclose(row(load_image(red)), [[255, 0, 0]], rtol=0, atol=5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, np.nan, 2.0, 10.0], [0, 0, 51, 255]),
        ([5.0, np.nan, 15.0], [0, 0, 255]),
        ([0.0, np.inf, -np.inf, 10.0], [0, 255, 0, 255]),
        ([7.0, 7.0], [0, 0]),
        ([7.0, np.nan, np.inf], [0, 0, 0]),
        ([np.nan, np.inf, -np.inf], [0, 0, 0]),
        ([-3.4e38, 0.0, 3.4e38], [0, 128, 255]),
        ([0.0, 1e-40], [0, 255]),
    ],
)
def test_float_image_is_stretched_over_its_finite_values(values: list[float], expected: list[int]) -> None:
    assert row(load_image(Image.fromarray(np.array([values], np.float32)))) == expected


@pytest.mark.parametrize(
    ("values", "expected"), [([5, 5, 5], [0, 0, 0]), ([-(2**31), 0, 2**31 - 1], [0, 128, 255]), ([0, 255], [0, 255])]
)
def test_integer_image_is_stretched_over_its_values(values: list[int], expected: list[int]) -> None:
    assert row(load_image(Image.fromarray(np.array([values], np.int32)))) == expected


def palette_image() -> Image.Image:
    image = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    image.putpalette([10, 20, 30, 200, 100, 50, 7, 8, 9])
    return image


@pytest.mark.parametrize(
    ("image", "transparency", "expected"),
    [
        (Image.frombytes("L", (3, 1), bytes([10, 20, 30])), 20, [10, 0, 30]),
        (Image.frombytes("RGB", (2, 1), bytes([1, 2, 3, 9, 8, 7])), (1, 2, 3), [[0, 0, 0], [9, 8, 7]]),
        (Image.frombytes("1", (2, 1), b"\x80"), 1, [0, 0]),
        (palette_image(), 1, [[10, 20, 30], [0, 0, 0], [7, 8, 9]]),
        (palette_image(), bytes([255, 128, 0]), [[10, 20, 30], [100, 50, 25], [0, 0, 0]]),
        (Image.fromarray(np.array([[257, 65535]], np.uint16)), 65535, [1, 0]),
    ],
    ids=["L", "RGB", "1", "P with an index", "P with an alpha for each colour", "I;16"],
)
def test_transparent_colour_of_a_png_is_black(image: Image.Image, transparency: Any, expected: list[Any]) -> None:
    assert row(load_image(encoded(image, transparency=transparency))) == expected


def test_transparent_colour_of_a_gif_is_black() -> None:
    assert row(load_image(encoded(palette_image(), "GIF", transparency=1))) == [[10, 20, 30], [0, 0, 0], [7, 8, 9]]


@pytest.mark.parametrize("tile", [1, 7, 40, 100])
@pytest.mark.parametrize("mode", RULES)
def test_image_converted_in_tiles_is_the_same(mode: str, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bits = np.random.default_rng(3).integers(0, 256, (9, 11, 4)).astype(np.uint8)
    size = len(Image.new(mode, (11, 9)).tobytes())
    image = Image.frombytes(mode, (11, 9), bits.tobytes()[:size])
    if mode in ("P", "PA"):
        image.putpalette(bytes(range(256)) * 3)
    whole = load_image(image)
    monkeypatch.setattr(modes, "_TILE", tile)
    parts = load_image(image)
    assert (parts.mode, parts.size, parts.image.tobytes()) == (whole.mode, whole.size, whole.image.tobytes())
