"""From a source to pixels: a rule for each Pillow mode, each format, each orientation, and for whatever is no image."""

import contextlib
import io
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ctonnx import images
from ctonnx.errors import ImageError
from ctonnx.images import SUFFIXES, Color, ImageSource, Preprocessing, looks_like_image, to_pixels
from ctonnx.images import load as load_image

GREY = Image.new("L", (40, 30), 100)


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """Returns the bytes of an image file."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def noise(file_format: str) -> bytes:
    """Returns an image file that is long enough to be cut in the middle of its pixels."""
    values = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    return encoded(Image.fromarray(values), file_format)


def row(image: Image.Image) -> list[Any]:
    """Returns the first row of an image: numbers for grey, lists of three for colour."""
    values: list[Any] = np.asarray(image)[0].tolist()
    return values


def error_of(source: Any) -> str:
    """Returns the text of the error that a source is refused with."""
    with pytest.raises(ImageError) as caught:
        load_image(source)
    return str(caught.value)


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


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
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
    assert {suffix for suffix, file_format in known if file_format in {*images._FORMATS, "MPO"}} == SUFFIXES


def test_pillow_can_open_every_format_that_is_asked_for() -> None:
    Image.init()
    assert [file_format for file_format in images._FORMATS if file_format not in Image.OPEN] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.png", True), ("A.JPEG", True), ("scan.dcm", False), ("png", False), (".png", False), ("a.png/b", False)],
)
def test_an_image_is_known_by_its_ending(name: str, expected: bool) -> None:
    assert looks_like_image(name) is expected
    assert looks_like_image(Path(name)) is expected


# --- what is no image ------------------------------------------------------------------------------------------------

NO_FORMAT = "not an image in a format that can be read"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"one\n", NO_FORMAT),
        (b"patient,age\nA,61\n" * 40, NO_FORMAT),
        (bytes(500), NO_FORMAT),
        (b"\x89PNG\r\n\x1a\n", NO_FORMAT),
        (encoded(GREY)[:30], NO_FORMAT),
        (encoded(GREY, "JPEG")[:2], NO_FORMAT),
        (noise("PNG")[:562], "damaged image: image file is truncated"),
        (noise("JPEG")[:458], "damaged image: image file is truncated (16 bytes not processed)"),
        (encoded(GREY, "JPEG")[:300], "damaged image: Truncated File Read"),
        (encoded(GREY, "EPS"), NO_FORMAT),
        (encoded(GREY, "PDF"), NO_FORMAT),
        (encoded(GREY, "ICNS"), NO_FORMAT),
    ],
    ids=[
        "empty",
        "a word",
        "a table",
        "zeros",
        "PNG signature alone",
        "PNG header cut",
        "JPEG marker alone",
        "PNG pixels cut",
        "JPEG pixels cut",
        "JPEG header cut",
        "EPS",
        "PDF",
        "icons",
    ],
)
def test_what_is_no_image_is_refused_with_its_reason(data: bytes, reason: str, tmp_path: Path) -> None:
    assert error_of(data) == f"bytes in memory: {reason}"
    file = tmp_path / "scan.png"
    file.write_bytes(data)
    assert error_of(file) == f"{file}: {reason}"


def test_error_without_a_text_is_told_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: Image.Image) -> None:
        raise EOFError

    monkeypatch.setattr(ImageOps, "exif_transpose", fail)
    assert error_of(encoded(GREY)) == "bytes in memory: damaged image: EOFError"


def test_error_holds_the_reason_and_the_source_apart(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(tmp_path / "none.png")
    assert caught.value.reason == "cannot be read: no such file"
    assert caught.value.source == str(tmp_path / "none.png")


def test_folder_is_refused(tmp_path: Path) -> None:
    assert error_of(tmp_path) == f"{tmp_path}: a folder, not an image file"


def test_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    name = str(tmp_path / ("a" * 300))
    assert error_of(name) == f"{name}: cannot be read: file name too long"


def test_name_that_no_file_can_have_is_refused() -> None:
    assert error_of("a\0b.png").startswith("a\0b.png: cannot be read: ")


def test_link_that_leads_to_itself_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "scan.png"
    link.symlink_to(link)
    assert error_of(link) == f"{link}: cannot be read: too many levels of symbolic links"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe_is_refused_and_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "scan.png"
    os.mkfifo(pipe)

    def fail(*arguments: object, **options: object) -> None:
        pytest.fail("the pipe was opened, which waits for ever")

    monkeypatch.setattr(Path, "open", fail)
    assert error_of(pipe) == f"{pipe}: not a regular file, so it is not opened"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="no file is closed to this user (root)")
def test_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "scan.png"
    file.write_bytes(encoded(GREY))
    file.chmod(0)
    assert error_of(file) == f"{file}: cannot be read: permission denied"


def test_error_of_the_system_is_told_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "scan.png"
    file.write_bytes(encoded(GREY))

    def fail(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Path, "open", fail)
    assert error_of(file) == f"{file}: cannot be read: permission denied"


def test_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert error_of(encoded(GREY)) == (
        "bytes in memory: too large to decode safely: Image size (1200 pixels) exceeds limit of 1000 pixels, "
        "could be decompression bomb DOS attack."
    )


def test_decompression_warning_is_a_refusal_where_warnings_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert error_of(encoded(GREY)).startswith(
            "bytes in memory: too large to decode safely: Image size (1200 pixels)"
        )


def test_image_of_the_largest_safe_size_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1200)
    assert load_image(encoded(GREY)).size == (40, 30)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "TGA", "PCX", "WEBP"]),
    st.integers(0, 300),
    st.binary(min_size=1, max_size=8),
)
def test_damaged_file_gives_pixels_or_an_image_error_and_nothing_else(
    file_format: str, place: int, damage: bytes
) -> None:
    data = bytearray(noise(file_format))
    data[place : place + len(damage)] = damage
    mode = "L"
    with contextlib.suppress(ImageError):
        mode = load_image(bytes(data)).mode
    assert mode in ("L", "RGB")


# --- sources ---------------------------------------------------------------------------------------------------------


class Scan(os.PathLike[str]):
    """A path of somebody else's class."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


@pytest.mark.parametrize(
    "source_of",
    [str, Path, Scan, Path.read_bytes, lambda file: Image.open(io.BytesIO(file.read_bytes())), lambda file: GREY],
    ids=["text", "path", "path-like", "bytes", "lazy Pillow image", "Pillow image"],
)
def test_each_kind_of_source_gives_the_same_image(source_of: Callable[[Path], ImageSource], tmp_path: Path) -> None:
    file = tmp_path / "scan.png"
    file.write_bytes(encoded(GREY))
    found = load_image(source_of(file))
    assert (found.mode, found.size, found.tobytes()) == ("L", (40, 30), bytes([100]) * 1200)


def test_file_whose_name_is_no_text_is_read(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/sc\xffan.png")
    Path(name).write_bytes(encoded(GREY))
    assert load_image(name).size == (40, 30)


def test_file_is_closed_after_it_was_read(tmp_path: Path) -> None:
    file = tmp_path / "scan.tif"
    file.write_bytes(encoded(GREY, "TIFF"))
    image = load_image(file)
    file.unlink()
    assert image.getpixel((0, 0)) == 100


@pytest.mark.parametrize(
    ("array", "mode", "expected"),
    [
        (np.array([[1, 2]], np.uint8), "L", [1, 2]),
        (np.array([[[1], [2]]], np.uint8), "L", [1, 2]),
        (np.array([[[1, 2, 3]]], np.uint8), "RGB", [[1, 2, 3]]),
        (np.array([[[200, 100, 50, 128]]], np.uint8), "RGB", [[100, 50, 25]]),
        (np.array([[1, 2, 3, 4]], np.uint8)[:, ::-2], "L", [4, 2]),
        (np.asfortranarray(np.array([[1, 2], [3, 4]], np.uint8)), "L", [1, 2]),
    ],
    ids=["grey", "grey with an axis", "RGB", "RGBA", "strided", "Fortran order"],
)
def test_array_is_read(array: NDArray[np.uint8], mode: str, expected: list[Any]) -> None:
    found = load_image(array)
    assert (found.mode, row(found)) == (mode, expected)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 2), np.float32), "found float32 [2, 2]"),
        (np.zeros((2, 2), np.int16), "found int16 [2, 2]"),
        (np.zeros((2, 2), np.bool_), "found bool [2, 2]"),
        (np.zeros(4, np.uint8), "found uint8 [4]"),
        (np.zeros((1, 2, 2, 3), np.uint8), "found uint8 [1, 2, 2, 3]"),
        (np.zeros((0, 2), np.uint8), "found uint8 [0, 2]"),
        (np.zeros((2, 2, 0), np.uint8), "found uint8 [2, 2, 0]"),
    ],
)
def test_array_of_another_kind_is_refused(array: NDArray[Any], reason: str) -> None:
    expected = "array: expected a uint8 array of shape [height, width] or [height, width, 1, 3 or 4], "
    assert error_of(array) == expected + reason


@pytest.mark.parametrize("channels", [2, 5])
def test_array_with_another_number_of_channels_is_refused(channels: int) -> None:
    expected = f"array: expected 1, 3 or 4 channels last, found shape [2, 2, {channels}]"
    assert error_of(np.zeros((2, 2, channels), np.uint8)) == expected


def test_pillow_image_without_pixels_is_refused() -> None:
    assert error_of(Image.new("L", (0, 3))) == "image in memory: the image has no pixels: 0 x 3"


def test_pillow_image_that_turns_out_damaged_is_refused() -> None:
    with Image.open(io.BytesIO(noise("PNG")[:562])) as lazy:
        assert error_of(lazy) == "image in memory: damaged image: image file is truncated"


def test_pillow_image_that_was_closed_is_refused() -> None:
    image = Image.open(io.BytesIO(noise("PNG")))
    image.close()
    assert error_of(image) == "image in memory: damaged image: Operation on closed image"


def test_pillow_image_is_named_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "scan.png"
    file.write_bytes(noise("PNG")[:562])
    with Image.open(file) as lazy:
        assert error_of(lazy) == f"{file}: damaged image: image file is truncated"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_what_is_returned_can_be_changed_without_changing_the_source(mode: str) -> None:
    image = Image.new(mode, (2, 2))
    before = image.tobytes()
    found = load_image(image)
    found.putpixel((0, 0), 255 if found.mode == "L" else (255, 255, 255))
    assert image.tobytes() == before


# --- pixels ----------------------------------------------------------------------------------------------------------


def colours(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8))


@pytest.mark.parametrize("size", [32, 57, 224])
@pytest.mark.parametrize(("height", "width"), [(20, 31), (224, 224), (301, 203), (33, 400), (1, 1)])
@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_stretched_pixels_are_those_of_torchvision(color: Color, height: int, width: int, size: int) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    image = colours(height, width).convert("L" if color == "grey" else "RGB")
    resized = np.asarray(
        functional.resize(image, [size, size], interpolation=InterpolationMode.BILINEAR, antialias=True)
    )
    found = to_pixels(image, Preprocessing(size=size, color=color))
    assert (found.dtype.name, found.shape) == ("uint8", (size, size, 3))
    np.testing.assert_array_equal(found, resized[:, :, None].repeat(3, axis=2) if color == "grey" else resized)


def test_halved_edge_is_antialiased() -> None:
    edge = np.zeros((64, 64), np.uint8)
    edge[:, 32:] = 255
    found = to_pixels(Image.fromarray(edge), Preprocessing(size=32))
    # the triangle filter's weights for a halving are 1, 3, 3, 1 eighths: 1/8 and 7/8 of 255 beside the edge
    assert found[16, :, 0].tolist() == [0] * 15 + [32, 223] + [255] * 15


def test_grey_takes_the_luma_of_a_colour_image_in_all_channels() -> None:
    found = to_pixels(Image.new("RGB", (8, 8), (255, 0, 0)), Preprocessing(size=32))
    assert np.unique(found).tolist() == [76]  # 0.299 * 255


def test_rgb_keeps_the_order_of_the_channels() -> None:
    found = to_pixels(Image.new("RGB", (8, 8), (3, 2, 1)), Preprocessing(size=32, color="rgb"))
    assert np.unique(found.reshape(-1, 3), axis=0).tolist() == [[3, 2, 1]]


@pytest.mark.parametrize("color", ["grey", "rgb"])
@pytest.mark.parametrize(
    ("width", "height", "column", "line"),
    [
        (64, 32, [255] * 32, [0] * 8 + [255] * 16 + [0] * 8),
        (16, 64, [0] * 12 + [255] * 8 + [0] * 12, [255] * 32),
        (32, 11, [255] * 32, [0] * 10 + [255] * 11 + [0] * 11),
        (80, 80, [255] * 32, [255] * 32),
    ],
    ids=["wide", "tall", "an odd rest", "square"],
)
def test_pad_keeps_the_aspect_and_centres_on_black(
    width: int, height: int, column: list[int], line: list[int], color: Color
) -> None:
    found = to_pixels(Image.new("L", (width, height), 255), Preprocessing(size=32, color=color, resize="pad"))
    assert found.shape == (32, 32, 3)
    for channel in range(3):
        assert found[16, :, channel].tolist() == column
        assert found[:, 16, channel].tolist() == line


@pytest.mark.parametrize("size", [31, 0, -224, 4097, 64.0, "224", None, True])
def test_size_out_of_range_is_refused(size: Any) -> None:
    message = f"size must be a whole number from 32 to 4096 pixels, found {size!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Preprocessing(size=size)


@pytest.mark.parametrize("size", [32, 4096])
def test_smallest_and_largest_size_are_taken(size: int) -> None:
    assert Preprocessing(size=size).size == size


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"color": "gray"}, "color must be one of ('grey', 'rgb'), found 'gray'"),
        ({"resize": "crop"}, "resize must be one of ('stretch', 'pad'), found 'crop'"),
    ],
)
def test_rule_that_does_not_exist_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Preprocessing(**values)


def test_sixteen_bit_scan_gives_the_same_pixels_in_every_container(tmp_path: Path) -> None:
    values = np.linspace(20000, 36000, 64, dtype=np.uint16).reshape(8, 8)
    for name in ("scan.png", "scan.tiff", "scan.pgm"):
        Image.fromarray(values).save(tmp_path / name)
    expected = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    for name in ("scan.png", "scan.tiff", "scan.pgm"):
        np.testing.assert_array_equal(np.asarray(images.load(tmp_path / name)), expected)
