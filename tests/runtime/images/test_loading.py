"""From a file to 8 bits: a rule for each Pillow mode, each orientation and each format."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctonnx.images import formats
from ctonnx.images import load as load_image
from ctonnx.images.formats import SUFFIXES, looks_like_image
from ctonnx.images.raster.decoding import FORMATS
from ctonnx.images.scan import Scan


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """Returns the bytes of an image file."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def row(image: Scan) -> list[Any]:
    """Returns the first row of an image: numbers for grey, lists of three for colour."""
    values: list[Any] = np.asarray(image)[0].tolist()
    return values


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
    assert load_image(file).image.convert("L").getpixel((8, 8)) == 50


@pytest.mark.parametrize("suffix", sorted(SUFFIXES - set(formats._DICOM)))
def test_file_of_each_suffix_is_read(suffix: str, tmp_path: Path) -> None:
    Image.init()
    file_format = Image.registered_extensions()[suffix]
    file = tmp_path / f"scan{suffix}"
    file.write_bytes(encoded(Image.new("RGB", (16, 16), (200, 200, 200)), file_format))
    pixel = load_image(file).image.convert("L").getpixel((8, 8))
    assert pixel == pytest.approx(200, abs=2)


def test_suffixes_are_those_that_pillow_has_for_the_formats() -> None:
    Image.init()
    known = Image.registered_extensions().items()
    found = {suffix for suffix, file_format in known if file_format in {*FORMATS, "MPO"}}
    assert found == SUFFIXES - set(formats._DICOM)


def test_pillow_can_open_every_format_that_is_asked_for() -> None:
    Image.init()
    assert [file_format for file_format in FORMATS if file_format not in Image.OPEN] == []


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
