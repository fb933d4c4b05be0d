"""Detection of image files by name and first bytes, and the supported formats."""

from pathlib import Path

import pytest
from PIL import Image
from tests.runtime.images.image_files import GREY, encoded, noise

from ctonnx.images import formats
from ctonnx.images import load as load_image
from ctonnx.images.formats import SUFFIXES, is_image, looks_like_image
from ctonnx.images.raster.decoding import FORMATS


@pytest.mark.parametrize("name", ["a.dcm", "a.DICOM", "a.ima"])
def test_dicom_file_is_detected_by_its_ending(name: str) -> None:
    assert looks_like_image(name)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES - set(formats._DICOM)))
def test_file_of_each_suffix_is_read(suffix: str, tmp_path: Path) -> None:
    Image.init()
    file_format = Image.registered_extensions()[suffix]
    file = tmp_path / f"scan{suffix}"
    file.write_bytes(encoded(Image.new("RGB", (16, 16), (200, 200, 200)), file_format))
    pixel = load_image(file).image.convert("L").getpixel((8, 8))
    assert pixel == pytest.approx(200, abs=2)


def test_suffixes_are_those_of_pillow_for_the_formats() -> None:
    Image.init()
    known = Image.registered_extensions().items()
    found = {suffix for suffix, file_format in known if file_format in {*FORMATS, "MPO"}}
    assert found == SUFFIXES - set(formats._DICOM)


def test_pillow_can_open_every_supported_format() -> None:
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
def test_image_is_detected_by_its_ending(name: str, expected: bool) -> None:
    assert looks_like_image(name) is expected
    assert looks_like_image(Path(name)) is expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(GREY), True),
        (noise("PNG")[:562], True),
        (encoded(GREY, "JPEG"), True),
        (b"\0" * 128 + b"DICM", True),
        (b"", False),
        (b"patient,age\nA,61\n" * 40, False),
    ],
    ids=["PNG", "damaged PNG", "JPEG", "DICOM", "empty", "table"],
)
def test_image_is_detected_by_its_first_bytes(data: bytes, expected: bool, tmp_path: Path) -> None:
    file = tmp_path / "scan"
    file.write_bytes(data)
    assert is_image(file) is expected
    assert not is_image(tmp_path)
    assert not is_image(tmp_path / "none")
