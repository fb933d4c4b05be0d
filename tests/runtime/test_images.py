"""From a file to 8 bits: a rule for each Pillow mode, each orientation and each format."""

import io
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from ctonnx import images
from ctonnx.images import SUFFIXES, looks_like_image
from ctonnx.images import load as load_image


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """Returns the bytes of an image file."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def row(image: Image.Image) -> list[Any]:
    """Returns the first row of an image: numbers for grey, lists of three for colour."""
    values: list[Any] = np.asarray(image)[0].tolist()
    return values


# --- a rule for each mode --------------------------------------------------------------------------------------------


class Rule(NamedTuple):
    """The bytes of an image that is one pixel high, what its first row becomes, and how far it may be off."""

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
def test_transparent_colour_of_a_png_is_laid_over_black(
    image: Image.Image, transparency: Any, expected: list[Any]
) -> None:
    assert row(load_image(encoded(image, transparency=transparency))) == expected


def test_transparent_colour_of_a_gif_is_laid_over_black() -> None:
    assert row(load_image(encoded(palette_image(), "GIF", transparency=1))) == [[10, 20, 30], [0, 0, 0], [7, 8, 9]]


# --- orientation, frames, formats ------------------------------------------------------------------------------------


ORIENTED = {
    1: [[0, 40, 80], [120, 160, 200]],
    2: [[80, 40, 0], [200, 160, 120]],
    3: [[200, 160, 120], [80, 40, 0]],
    4: [[120, 160, 200], [0, 40, 80]],
    5: [[0, 120], [40, 160], [80, 200]],
    6: [[120, 0], [160, 40], [200, 80]],
    7: [[200, 80], [160, 40], [120, 0]],
    8: [[80, 200], [40, 160], [0, 120]],
}
"""What the blocks of an image become by each EXIF orientation."""


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
def test_exif_orientation_of_a_file_is_applied(file_format: str, orientation: int, tmp_path: Path) -> None:
    blocks = np.array(ORIENTED[1], np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100} if file_format == "JPEG" else {}
    file = tmp_path / "scan"
    file.write_bytes(encoded(Image.fromarray(blocks), file_format, exif=exif, **options))
    found = np.asarray(load_image(file)).astype(int)[4::8, 4::8]
    np.testing.assert_allclose(found, ORIENTED[orientation], rtol=0, atol=1)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientation_that_does_not_exist_changes_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert row(load_image(encoded(Image.frombytes("L", (2, 1), bytes([3, 4])), exif=exif))) == [3, 4]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("block", [b"Exif\0\0no TIFF file", b"no EXIF", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"])
def test_image_whose_exif_cannot_be_read_stays_as_it_is(file_format: str, block: bytes) -> None:
    image = Image.frombytes("L", (2, 1), bytes([9, 9]))
    found = load_image(encoded(image, file_format, exif=block))
    assert found.size == (2, 1)
    np.testing.assert_allclose(np.asarray(found).astype(int), 9, atol=1)


def test_orientation_of_an_image_in_memory_is_applied_and_the_image_stays_as_it_was() -> None:
    image = Image.frombytes("L", (2, 1), bytes([3, 4]))
    image.getexif()[0x0112] = 2
    assert row(load_image(image)) == [4, 3]
    assert image.tobytes() == bytes([3, 4])


@pytest.mark.parametrize(
    ("file_format", "options"),
    [("GIF", {}), ("TIFF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("MPO", {"quality": 100})],
)
def test_first_frame_of_a_file_is_taken(file_format: str, options: dict[str, Any]) -> None:
    first, second = (Image.new("RGB", (16, 16), (grey, grey, grey)) for grey in (50, 200))
    file = encoded(first, file_format, save_all=True, append_images=[second], **options)
    with Image.open(io.BytesIO(file)) as opened:
        assert getattr(opened, "n_frames", 1) == 2
    assert load_image(file).convert("L").getpixel((8, 8)) == 50


@pytest.mark.parametrize("suffix", sorted(SUFFIXES - set(images._DICOM)))
def test_file_of_each_suffix_is_read(suffix: str, tmp_path: Path) -> None:
    Image.init()
    file_format = Image.registered_extensions()[suffix]
    file = tmp_path / f"scan{suffix}"
    file.write_bytes(encoded(Image.new("RGB", (16, 16), (200, 200, 200)), file_format))
    pixel = load_image(file).convert("L").getpixel((8, 8))
    assert pixel == pytest.approx(200, abs=2)


def test_suffixes_are_those_that_pillow_has_for_the_formats() -> None:
    Image.init()
    known = Image.registered_extensions().items()
    found = {suffix for suffix, file_format in known if file_format in {*images._FORMATS, "MPO"}}
    assert found == SUFFIXES - set(images._DICOM)


def test_pillow_can_open_every_format_that_is_asked_for() -> None:
    Image.init()
    assert [file_format for file_format in images._FORMATS if file_format not in Image.OPEN] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", True),
        ("A.JPEG", True),
        ("a.dcm", True),
        ("a.nii", False),
        ("png", False),
        (".png", False),
        ("a.png/b", False),
    ],
)
def test_an_image_is_known_by_its_ending(name: str, expected: bool) -> None:
    assert looks_like_image(name) is expected
    assert looks_like_image(Path(name)) is expected
