"""Orientation, frames and transparency of files that Pillow decodes."""

import io
import struct
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.runtime.images.image_files import chunk, encoded, reason_of, row

from ctonnx.images import load
from ctonnx.images import load as load_image
from ctonnx.images.raster import jpeg2000, tiff

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
"""Blocks of an image after each EXIF orientation is applied."""


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
def test_invalid_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert row(load_image(encoded(Image.frombytes("L", (2, 1), bytes([3, 4])), exif=exif))) == [3, 4]


def test_orientation_of_an_image_in_memory_is_applied_to_a_copy() -> None:
    image = Image.frombytes("L", (2, 1), bytes([3, 4]))
    image.getexif()[0x0112] = 2
    assert row(load_image(image)) == [4, 3]
    assert image.tobytes() == bytes([3, 4])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("block", [b"Exif\0\0no TIFF file", b"no EXIF", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"])
def test_image_with_unreadable_exif_is_unchanged(file_format: str, block: bytes) -> None:
    image = Image.frombytes("L", (2, 1), bytes([9, 9]))
    found = load_image(encoded(image, file_format, exif=block))
    assert found.size == (2, 1)
    np.testing.assert_allclose(np.asarray(found).astype(int), 9, atol=1)


@pytest.mark.parametrize(
    ("file_format", "options"),
    [("GIF", {}), ("TIFF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("MPO", {"quality": 100})],
)
def test_first_frame_of_a_file_is_decoded(file_format: str, options: dict[str, Any]) -> None:
    first, second = (Image.new("RGB", (16, 16), (grey, grey, grey)) for grey in (50, 200))
    file = encoded(first, file_format, save_all=True, append_images=[second], **options)
    with Image.open(io.BytesIO(file)) as opened:
        assert getattr(opened, "n_frames", 1) == 2
    assert load_image(file).image.convert("L").getpixel((8, 8)) == 50


RAMP = np.arange(16, dtype=np.uint8)[None]


def png(row: bytes, bits: int, colour: int, transparent: bytes) -> bytes:
    """Returns a PNG file of one row of 16 pixels."""
    head = struct.pack(">IIBBBBB", 16, 1, bits, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"tRNS", transparent) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_only_the_transparent_grey_of_a_shallow_png_is_black(bits: int) -> None:
    values = RAMP[0].astype(int) % 2**bits
    flags = (values[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    row = np.packbits(flags.reshape(-1).astype(np.uint8)).tobytes()
    grey = values.astype(int) * (255 // (2**bits - 1))
    for transparent in {0, 1, 2**bits - 1}:
        found = np.asarray(load(png(row, bits, 0, struct.pack(">H", transparent))))[0]
        np.testing.assert_array_equal(found, np.where(values == transparent, 0, grey))


def test_transparent_colour_of_a_deep_png_is_rejected() -> None:
    data = png(bytes(16 * 6), 16, 2, bytes(6))
    assert reason_of(data) == (
        "a PNG image of 16-bit colours, one of them transparent, which is not supported; save it with an alpha "
        "channel, or with 8 bits"
    )


def tga(pixels: NDArray[np.generic], bits: int, attribute_bits: int) -> bytes:
    """Returns a TGA file of one row of 16 pixels."""
    return struct.pack("<BBB5xHHHHBB", 0, 0, 2, 0, 0, 16, 1, bits, 0x20 | attribute_bits) + pixels.tobytes()


@pytest.mark.parametrize("attribute", [0, 0x8000])
@pytest.mark.parametrize("attribute_bits", [0, 1])
def test_attribute_bit_of_a_16_bit_tga_makes_nothing_black(attribute: int, attribute_bits: int) -> None:
    red = (RAMP[0].astype("<u2") * 2) << 10 | attribute
    found = np.asarray(load(tga(red.astype("<u2"), 16, attribute_bits)))[0]
    np.testing.assert_allclose(found[:, 0], RAMP[0] * 2 / 31 * 255, rtol=0, atol=1)


@pytest.mark.parametrize(("attribute_bits", "expected"), [(0, 200), (8, 100)])
def test_fourth_byte_of_a_32_bit_tga_is_alpha_if_declared(attribute_bits: int, expected: int) -> None:
    pixels = np.tile(np.array([200, 200, 200, 128], np.uint8), 16)
    assert np.asarray(load(tga(pixels, 32, attribute_bits)))[0, 0].tolist() == [expected] * 3


@pytest.mark.parametrize(
    ("reader", "data"),
    [(tiff, b"II*\0" + bytes(60)), (jpeg2000, bytes(imagecodecs.jpeg2k_encode(np.zeros((8, 8), np.uint8))))],
    ids=["TIFF", "JPEG 2000"],
)
def test_header_that_breaks_its_reader_is_reported_as_damage(
    reader: ModuleType, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(reader, "read_header", broken)
    assert reason_of(data) == "damaged image: maximum recursion depth exceeded"
