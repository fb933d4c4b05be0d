"""Format and mode of an image's file, which is opened once; for DICOM, too."""

import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.runtime.images.dicom import dicom_files

from ctonnx.errors import ImageError
from ctonnx.images import load
from ctonnx.images.loading import Origin, load_with_origin


def encoded(mode: str, file_format: str) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (6, 4), 7 if mode in ("L", "I;16", "1") else None).save(file, file_format)
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [("L", "PNG"), ("RGBA", "PNG"), ("I;16", "PNG"), ("RGB", "JPEG"), ("CMYK", "TIFF"), ("P", "GIF"), ("1", "BMP")],
)
def test_format_and_mode_are_those_of_the_file_and_pixels_those_of_load(mode: str, file_format: str) -> None:
    content = encoded(mode, file_format)
    image, origin = load_with_origin(content)
    assert origin[:3] == (file_format, mode, len(content))
    assert (origin.quantization is not None) == (file_format == "JPEG")
    np.testing.assert_array_equal(np.asarray(image), np.asarray(load(content)))


def test_dicom_file_without_an_ending_is_detected(dicom_file: bytes, tmp_path: Path) -> None:
    (tmp_path / "IM0001").write_bytes(dicom_file)
    image, origin = load_with_origin(tmp_path / "IM0001")
    assert (origin[:3], image.size) == (("DICOM", "L", len(dicom_file)), (96, 64))


@pytest.mark.parametrize(("shape", "mode"), [((4, 6), "L"), ((4, 6, 1), "L"), ((4, 6, 3), "RGB")])
def test_format_of_an_array_is_array(shape: tuple[int, ...], mode: str) -> None:
    assert load_with_origin(np.zeros(shape, np.uint8))[1] == Origin("array", mode)


def test_image_in_memory_has_its_own_format() -> None:
    with Image.open(io.BytesIO(encoded("RGBA", "PNG"))) as image:
        assert load_with_origin(image)[1] == Origin("PNG", "RGBA")
    assert load_with_origin(Image.new("L", (2, 2)))[1] == Origin("other", "L")


def test_format_unknown_to_pillow_is_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctonnx.images.loading.readable_formats", lambda: ["PNG", "DICOM"])
    assert load_with_origin(encoded("RGB", "BMP"))[1][:2] == ("other", "RGB")


def test_acquisition_is_that_of_the_header_and_names_no_institution() -> None:
    elements: dict[str, Any] = {
        "Manufacturer": "ACME ",
        "ManufacturerModelName": "One",
        "ConvolutionKernel": ["B30f", "3"],
        "SliceThickness": "1.25",
        "KVP": "120",
        "PixelSpacing": ["0.7", "0.7"],
        "InstitutionName": "St. Elsewhere",
    }
    found = load_with_origin(dicom_files.encoded(dicom_files.make(**elements)))[1].acquisition
    institution = found["institution"]
    assert dict(found) == {
        "manufacturer": "ACME",
        "model": "One",
        "kernel": "B30f 3",
        "slice_thickness": 1.25,
        "kvp": 120.0,
        "pixel_spacing": 0.7,
        "bits": 16.0,
        "institution": institution,
    }
    assert re.fullmatch("[0-9a-f]{16}", str(institution))


def test_acquisition_without_its_elements_or_with_damaged_ones_is_empty() -> None:
    damaged = dicom_files.make(SliceThickness="", PixelSpacing=[], Manufacturer="")
    assert set(load_with_origin(dicom_files.encoded(damaged))[1].acquisition) == {"bits"}


def test_file_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scan.png").write_bytes(encoded("L", "PNG"))
    opened: list[str] = []
    open_file = os.open

    def counting(name: Any, *arguments: Any) -> int:
        opened.append(name)
        return open_file(name, *arguments)

    monkeypatch.setattr("os.open", counting)
    load_with_origin(tmp_path / "scan.png")
    assert opened == [str(tmp_path / "scan.png")]


def test_file_that_is_not_an_image_is_rejected_as_by_load(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not an image in a format that can be read"):
        load_with_origin(b"no image")
    with pytest.raises(ImageError, match="no such file"):
        load_with_origin(tmp_path / "none.png")
