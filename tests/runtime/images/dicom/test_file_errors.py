"""DICOM files that are rejected with the reason: without an image, damaged, too large."""

import zlib
from collections.abc import Callable
from typing import Any

import pytest

from ctonnx.images import load

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
uid = pydicom.uid

from tests.runtime.images.dicom.dicom_files import HU, LUNG, PATIENT, encoded, error_of, make  # noqa: E402 - it needs pydicom


def without_pixels() -> bytes:
    image = pydicom.Dataset()
    image.file_meta = make().file_meta
    image.SOPClassUID, image.SOPInstanceUID, image.PatientName = uid.BasicTextSRStorage, "1.2.3", PATIENT
    return encoded(image)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (without_pixels, "a DICOM Basic Text SR Storage without pixels"),
        (
            lambda: encoded(make(Modality="SEG", SOPClassUID=uid.SegmentationStorage)),
            "a DICOM Segmentation Storage, whose pixels are not an image",
        ),
        (
            lambda: encoded(make(Modality="SEG ", SOPClassUID=uid.SegmentationStorage)).replace(b"SEG ", b"seg "),
            "a DICOM Segmentation Storage, whose pixels are not an image",
        ),
        (lambda: encoded(make())[:-100], "damaged DICOM file: its PixelData ends too early"),
        (
            lambda: encoded(make(PixelData=None)),
            "a DICOM CT Image Storage without pixels (it has no PixelData)",
        ),
        (lambda: encoded(make())[:200], "a DICOM CT Image Storage without pixels"),
        (lambda: b"\0" * 128 + b"DICM", "not a DICOM file"),
        (lambda: b"\0" * 128 + b"DICM" + b"GEHEIM^PETER" * 50, "not a DICOM file"),
        (lambda: encoded(make(Rows=0)), "the image has no pixels: 40 x 0 (Columns x Rows)"),
        (
            lambda: encoded(make(Rows=65535, Columns=65535)),
            "too large to decode safely: 65535 x 65535 pixels, and an image may have 178956970",
        ),
        (
            lambda: encoded(make(NumberOfFrames=10**8)),
            "damaged DICOM file: its PixelData cannot hold 100000000 frames (NumberOfFrames)",
        ),
    ],
)
def test_file_that_is_not_an_image_is_rejected(data: Callable[[], bytes], reason: str) -> None:
    assert error_of(data()) == reason


def test_unsupported_compression_is_reported() -> None:
    image = make()
    image.file_meta.TransferSyntaxUID = uid.MPEG2MPML
    image.PixelData = pydicom.encaps.encapsulate([b"film"])
    image["PixelData"].is_undefined_length = True
    expected = "a DICOM file compressed as MPEG2 Main Profile / Main Level, which is not supported"
    assert error_of(encoded(image)) == expected


def test_deflated_bomb_is_rejected_before_it_is_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    from ctonnx.images.dicom import dataset as module

    data = encoded(make(syntax=uid.DeflatedExplicitVRLittleEndian))
    begin = 144 + int.from_bytes(data[140:144], "little")
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = bomb.compress(bytes(30_000_000)) + bomb.flush()
    monkeypatch.setattr(module, "_MOST_INFLATED", 10_000_000)
    reason = error_of(data[:begin] + packed)
    assert reason == "too large to decode safely: it inflates to more than 10000000 bytes"


@pytest.mark.parametrize("empty", [("RescaleSlope",), ("RescaleIntercept",), ("RescaleSlope", "RescaleIntercept")])
def test_empty_rescale_of_an_anonymizer_is_treated_as_absent(empty: tuple[str, ...]) -> None:
    nothing: dict[str, Any] = {"": dict.fromkeys(empty, ""), "none": dict.fromkeys(empty)}
    emptied, absent = make(**nothing[""]), make(**nothing["none"])
    assert error_of(encoded(emptied)) == error_of(encoded(absent))
    assert error_of(encoded(emptied)).startswith(f"a DICOM CT Image Storage without {' and '.join(empty)}, so that")
    kind: dict[str, Any] = {"SOPClassUID": uid.MRImageStorage, "Modality": "MR"}
    emptied, absent = make(**kind, **nothing[""]), make(**kind, **nothing["none"])
    assert load(encoded(emptied)) == load(encoded(absent))


@pytest.mark.parametrize(
    ("written", "found", "reason"),
    [
        (b"", b"", "its RescaleSlope is 0, so that all its values would be equal"),
        (b"-1024", b"PETER", "its RescaleIntercept is not a number"),
        (b"-1024", b"nan  ", "its RescaleIntercept is not a number"),
        (b"MONOCHROME2", b"GEHEIMPETER", "its PhotometricInterpretation has an unknown value"),
        (b"\x28\0\3\1US\2\0\1", b"\x28\0\3\1US\2\0\2", "its PixelRepresentation has an unknown value"),
        (b"\x28\0\0\1US", b"\x28\0\0\0US", "it has no BitsAllocated"),
    ],
)
def test_invalid_element_is_reported_without_its_value(written: bytes, found: bytes, reason: str) -> None:
    slope = 1 if written else 0
    data = encoded(make(RescaleSlope=slope, RescaleIntercept="-1024"))
    assert written in data
    assert error_of(data.replace(written, found)) == f"damaged DICOM file: {reason}"


@pytest.mark.parametrize(("rows", "columns", "frames"), [(30, 39, 1), (29, 40, 1), (15, 40, 1), (10, 20, 5)])
def test_more_pixels_than_the_geometry_has_are_rejected(rows: int, columns: int, frames: int) -> None:
    sheared = make(Rows=rows, Columns=columns, NumberOfFrames=frames)
    assert error_of(encoded(sheared)) == (
        f"damaged DICOM file: its PixelData has 2400 bytes, where {frames} x {rows} x {columns} pixels "
        f"(NumberOfFrames, Rows, Columns) take {2 * rows * columns * frames}"
    )


@pytest.mark.parametrize("padding", [2, 4, 16, 58])
def test_padding_after_the_pixels_is_ignored(padding: int) -> None:
    assert load(encoded(make(PixelData=HU.tobytes() + bytes(padding)))).image.tobytes() == LUNG.tobytes()


def test_tiny_image_may_be_padded() -> None:
    data = encoded(make(HU[:1, :1], PixelData=HU[:1, :1].tobytes() + bytes(14)))
    assert load(data).size == (1, 1)
