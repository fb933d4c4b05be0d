"""DICOM files are detected by their first bytes, and image files are not mistaken for DICOM."""

import io

import numpy as np
import pytest
from PIL import Image

from ctonnx.images.formats import HEAD, begins_as_dicom

EXPLICIT, IMPLICIT = b"\x08\0\x05\0CS\x0a\0ISO_IR 100", b"\x08\0\x16\0\x1a\0\0\x001.2.840.10008.5.1.4.1.1.2\0"


@pytest.mark.parametrize(
    "head",
    [
        bytes(128) + b"DICM",
        b"DICM\x02\0\0\0UL\x04\0",
        b"\x02\0\0\0UL\x04\0\xc0\0\0\0",
        EXPLICIT,
        IMPLICIT,
        b"\0\x08\0\x05CS\0\x0aISO_IR 100",
        b"\x08\0\0\0\x04\0\0\0\x10\x01\0\0",
    ],
    ids=["preamble", "mark alone", "meta alone", "explicit", "implicit", "big endian", "group length"],
)
def test_dicom_is_detected_under_any_name(head: bytes) -> None:
    assert begins_as_dicom(head, has_dicom_name=False)


def test_file_with_a_dicom_name_is_checked_less_strictly() -> None:
    head = b"\x18\0\x50\0DS\x02\x005 "
    assert begins_as_dicom(head, has_dicom_name=True)
    assert not begins_as_dicom(head, has_dicom_name=False)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "TGA", "PCX", "ICO", "JPEG2000"])
def test_image_file_is_not_mistaken_for_dicom(name: str) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((32, 32), np.uint8)).convert("RGB").save(file, name)
    assert not begins_as_dicom(file.getvalue()[:HEAD], has_dicom_name=False)


@pytest.mark.parametrize("comment", range(0, 256, 2))
def test_tga_file_with_a_comment_is_not_mistaken_for_dicom(comment: int) -> None:
    for kind in (2, 3, 10, 11):
        head = bytes([comment, 0, kind]) + bytes(9) + b"\x20\0\x20\0\x18\0" + bytes(comment)
        assert not begins_as_dicom(head[:HEAD], has_dicom_name=False)


@pytest.mark.parametrize("head", [b"", b"\x08", b"\x08\0\x05\0", b"\x08\0\x05\0\xff\xff\xff\x7f"])
def test_header_too_short_or_with_a_long_element_is_not_dicom(head: bytes) -> None:
    assert not begins_as_dicom(head, has_dicom_name=False)
