"""Stored bits of a value, next to overlays and padding, in every compression."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ctonnx.images import load
from ctonnx.images.dicom.rendering.window import windowed

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
uid = pydicom.uid

from tests.runtime.images.dicom.dicom_files import encoded, error_of, grey_of, make, radiograph, window_of  # noqa: E402 - it needs pydicom

STORED = np.resize(np.arange(4096, dtype=np.uint16), (40, 60))
CT: dict[str, Any] = {"BitsStored": 12, "RescaleIntercept": -1024}
OVERLAY = (np.indices(STORED.shape)[0] % 2).astype(np.uint16)
UNCOMPRESSED = [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
SYNTAXES = [
    *UNCOMPRESSED,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
]


def stream_of(syntax: str, frame: NDArray[Any]) -> bytes:
    codecs = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    bits = frame.view(f"u{frame.itemsize}")
    if syntax == uid.JPEGLSLossless:
        return bytes(codecs.jpegls_encode(bits))
    if syntax == uid.JPEGLosslessSV1:
        colors = {"colorspace": "RGB", "outcolorspace": "RGB"} if frame.ndim == 3 else {}
        return bytes(codecs.jpeg8_encode(bits, lossless=True, bitspersample=8 * frame.itemsize, **colors))
    precision = {
        "level": 0,
        "reversible": True,
        "codecformat": "j2k",
        "bitspersample": 8 * frame.itemsize,
        "mct": False,
    }
    return bytes(codecs.jpeg2k_encode(frame, **precision))


def file_of(syntax: str, frames: NDArray[Any], **elements: Any) -> bytes:
    """Returns a file of frames [frame, row, column] or [row, column], with a last axis of 3 for colour."""
    if syntax == uid.ExplicitVRBigEndian:
        image = make(frames, syntax=syntax, **elements)
        image.PixelData = frames.astype(frames.dtype.newbyteorder(">")).tobytes()
        return encoded(image)
    if syntax in (*UNCOMPRESSED, uid.DeflatedExplicitVRLittleEndian):
        return encoded(make(frames, syntax=syntax, **elements))
    image = make(frames, **elements)
    if syntax == uid.RLELossless:
        image.compress(syntax, generate_instance_uid=False)
        return encoded(image)
    several = frames if "NumberOfFrames" in image else [frames]
    image.file_meta.TransferSyntaxUID = syntax
    image.PixelData = pydicom.encaps.encapsulate([stream_of(syntax, frame) for frame in several])
    image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    return encoded(image)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("first", [0, 2, 4])
def test_overlay_next_to_the_value_is_ignored(syntax: str, first: int) -> None:
    around = OVERLAY * np.uint16(0xFFFF ^ (0x0FFF << first))
    found = grey_of(file_of(syntax, STORED << first | around, **CT, HighBit=first + 11))
    np.testing.assert_array_equal(found, window_of(STORED.astype(float) - 1024))


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("first", [0, 4])
def test_sign_is_that_of_the_highest_stored_bit(syntax: str, first: int) -> None:
    around = OVERLAY * np.uint16(0xFFFF ^ (0x0FFF << first))
    cells = (STORED << first | around).view(np.int16)
    found = grey_of(file_of(syntax, cells, BitsStored=12, HighBit=first + 11))
    signed = np.where(STORED >= 2048, STORED.astype(int) - 4096, STORED)
    np.testing.assert_array_equal(found, window_of(signed))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_overlay_of_every_frame_is_ignored(syntax: str) -> None:
    frames = np.stack([STORED, STORED[::-1], np.roll(STORED, 7)]) | OVERLAY << 14
    data = file_of(syntax, frames, **CT, HighBit=11)
    for number in range(3):
        expected = window_of((frames[number] & 0xFFF).astype(float) - 1024)
        np.testing.assert_array_equal(np.asarray(load(data, frame=number)), expected)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_overlay_on_a_large_image_is_ignored(syntax: str) -> None:
    large = np.resize(np.arange(4096, dtype=np.uint16), (260, 260))  # more pixels than values
    found = grey_of(file_of(syntax, large | 0x8000, **CT, HighBit=11))
    np.testing.assert_array_equal(found, window_of(large.astype(float) - 1024))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_overlay_on_colour_is_ignored(syntax: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (16, 20, 3)).astype(np.uint16)
    capture = {"SOPClassUID": uid.SecondaryCaptureImageStorage, "BitsStored": 12, "HighBit": 11}
    image = load(file_of(syntax, pixels | 0xC000, **capture))
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), np.rint(pixels * (255 / 4095)))


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
@pytest.mark.parametrize("kind", [np.uint32, np.int32])
def test_overlay_in_cells_of_thirty_two_bits_is_ignored(syntax: str, kind: type) -> None:
    cells = (STORED.astype(np.uint32) << 8 | OVERLAY.astype(np.uint32) * np.uint32(0xFFF000FF)).view(kind)
    expected = STORED.astype(int) - (4096 * (STORED >= 2048) if kind is np.int32 else 0) - 1024
    found = grey_of(file_of(syntax, cells, **CT, HighBit=19))
    np.testing.assert_array_equal(found, window_of(expected))


def test_overlay_on_eight_bits_is_ignored() -> None:
    six = np.arange(64, dtype=np.uint8).reshape(8, 8)
    found = grey_of(encoded(radiograph(six | 0xC0, BitsStored=6, HighBit=5, WindowCenter=32, WindowWidth=64)))
    np.testing.assert_array_equal(found, windowed(six.astype(float), 32, 64))


def test_overlay_on_a_palette_is_ignored() -> None:
    stored = np.array([[0, 1], [2, 3]], np.uint8)
    image = make(stored | 0xF0, PhotometricInterpretation="PALETTE COLOR", BitsStored=4, HighBit=3)
    for color, values in (("Red", [0, 50, 100, 150]), ("Green", [1, 2, 3, 4]), ("Blue", [9, 9, 9, 255])):
        setattr(image, f"{color}PaletteColorLookupTableDescriptor", [4, 0, 8])
        setattr(image, f"{color}PaletteColorLookupTableData", bytes(values))
    found = np.asarray(load(encoded(image)))
    assert found.reshape(4, 3).tolist() == [[0, 1, 9], [50, 2, 9], [100, 3, 9], [150, 4, 255]]


def test_padding_beyond_the_stored_bits_is_black_and_zero_is_not_padding() -> None:
    stored = np.array([[-32768, 0], [100, -1000]], np.int16)
    found = grey_of(encoded(make(stored, BitsStored=12, HighBit=11, PixelPaddingValue=-32768)))
    assert found.tolist() == np.where(stored == -32768, 0, window_of(stored)).tolist()


def test_padding_under_an_overlay_is_padding() -> None:
    stored = np.array([[2000, 2000 | 0xC000], [1000, 1000 | 0xC000]], np.uint16)
    found = grey_of(encoded(make(stored, **CT, HighBit=11, PixelPaddingValue=2000)))
    assert (found > 0).tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize("high_bit", [None, 0, 10, 16, 400])
def test_missing_or_invalid_high_bit_is_the_last_stored_bit(high_bit: int | None) -> None:
    found = grey_of(encoded(make(STORED | 0xC000, **CT, HighBit=high_bit)))
    np.testing.assert_array_equal(found, window_of(STORED.astype(float) - 1024))


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless])
def test_high_bit_contradicted_by_the_values_is_an_error(syntax: str) -> None:
    expected = "damaged DICOM file: its HighBit puts the first bit of a pixel at 4, but it is at 0"
    assert error_of(file_of(syntax, STORED, **CT, HighBit=15)) == expected


def test_luma_and_chroma_of_more_than_eight_bits_become_rgb() -> None:
    pixels = np.array([[[76, 85, 255], [128, 128, 128]]], np.uint16) * 16
    capture: dict[str, Any] = {"SOPClassUID": uid.SecondaryCaptureImageStorage, "BitsStored": 12, "HighBit": 11}
    image = load(encoded(make(pixels, PhotometricInterpretation="YBR_FULL", **capture)))
    np.testing.assert_allclose(np.asarray(image)[0].astype(int), [[254, 0, 0], [128, 128, 128]], rtol=0, atol=2)
