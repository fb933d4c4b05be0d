"""Rendering of stored values: rescale, windows, lookup tables, padding and colour."""

from typing import Any

import numpy as np
import pytest

from ctonnx.images import load
from ctonnx.images.dicom.rendering.window import windowed
from ctonnx.images.preprocessing import DicomWindow

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
uid = pydicom.uid

from tests.runtime.images.dicom.dicom_files import HU, LUNG, encoded, error_of, grey, make, radiograph, window_of  # noqa: E402 - it needs pydicom


def test_ct_is_rendered_with_the_lung_window_or_the_models() -> None:
    np.testing.assert_array_equal(grey(make()), LUNG)
    bone = windowed(HU.astype(float), 400, 1800)
    np.testing.assert_array_equal(grey(make(), window=DicomWindow(center=400, width=1800)), bone)
    own = make(WindowCenter=[40, 400], WindowWidth=[400, 1800])  # a file's own window is not what the model learned
    np.testing.assert_array_equal(grey(own), LUNG)


def test_rescale_makes_hounsfield_units() -> None:
    stored = (HU.astype(np.int32) + 3000).astype(np.uint16)
    np.testing.assert_array_equal(grey(make(stored, RescaleIntercept=-3000)), LUNG)
    halves = make((HU // 2).astype(np.int16), RescaleSlope=2)
    np.testing.assert_array_equal(grey(halves), windowed((HU // 2 * 2).astype(float), -600, 1500))


def test_modality_lut_makes_hounsfield_units() -> None:
    item = pydicom.Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [4, 0, 16], "HU"
    item.add_new("LUTData", "US", [0, 40, 80, 120])
    stored = np.arange(4, dtype=np.uint16).reshape(2, 2)
    changed = make(stored, ModalityLUTSequence=[item], RescaleSlope=None, RescaleIntercept=None)
    np.testing.assert_array_equal(grey(changed), windowed(np.array([[0.0, 40], [80, 120]]), -600, 1500))


def test_low_values_are_white_in_monochrome1() -> None:
    np.testing.assert_array_equal(grey(make(PhotometricInterpretation="MONOCHROME1")), 255 - LUNG)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black(photometric: str) -> None:
    stored = HU.copy()
    stored[:5] = 3000
    image = make(stored, PixelPaddingValue=3000, PhotometricInterpretation=photometric)
    found = grey(image)
    assert not found[:5].any()
    assert (found[5:] == (LUNG if photometric == "MONOCHROME2" else 255 - LUNG)[5:]).all()


def test_other_images_are_rendered_with_their_own_window() -> None:
    stored = np.arange(1200, dtype=np.uint16).reshape(30, 40)
    found = grey(radiograph(stored, WindowCenter=[600, 1], WindowWidth=[200, 2]))
    np.testing.assert_array_equal(found, windowed(stored.astype(float), 600, 200))


def test_other_images_are_rendered_with_their_own_lut() -> None:
    item = pydicom.Dataset()
    item.LUTDescriptor = [4, 0, 8]
    item.add_new("LUTData", "US", [0, 255, 20, 100])
    stored = np.arange(4, dtype=np.uint16).reshape(2, 2)
    assert grey(radiograph(stored, VOILUTSequence=[item])).tolist() == [[0, 255], [20, 100]]


def test_other_images_of_eight_bits_are_unchanged_and_of_more_are_stretched() -> None:
    eight = np.arange(100, 160, dtype=np.uint8).reshape(6, 10)
    np.testing.assert_array_equal(grey(radiograph(eight)), eight)
    sixteen = np.array([[1000, 2000], [1500, 4000]], np.uint16)
    assert grey(radiograph(sixteen)).tolist() == [[0, 85], [42, 255]]
    assert grey(radiograph(sixteen, PixelPaddingValue=4000)).tolist() == [[0, 255], [128, 0]]


def test_screenshot_of_a_ct_is_not_windowed() -> None:
    eight = np.arange(100, 160, dtype=np.uint8).reshape(6, 10)
    shot = make(eight, SOPClassUID=uid.SecondaryCaptureImageStorage, RescaleSlope=None, RescaleIntercept=None)
    np.testing.assert_array_equal(grey(shot), eight)


@pytest.mark.parametrize("kind", [uid.CTImageStorage, uid.EnhancedCTImageStorage])
@pytest.mark.parametrize("lacks", ["RescaleIntercept", "RescaleSlope"])
def test_ct_without_rescale_is_rejected(kind: str, lacks: str) -> None:
    raw = np.full((6, 10), 300, np.uint16)
    lack: dict[str, Any] = {lacks: None}
    image = make(raw, SOPClassUID=kind, WindowCenter=300, WindowWidth=100, RescaleType="HU", **lack)
    assert error_of(encoded(image)) == (
        f"a DICOM {uid.UID(kind).name} without {lacks}, so that its values are not Hounsfield units; export it again "
        "with it"
    )


@pytest.mark.parametrize("lacks", ["RescaleIntercept", "RescaleSlope"])
def test_other_image_is_in_hounsfield_units_only_with_a_complete_rescale(lacks: str) -> None:
    sixteen = np.array([[1000, 2000], [1500, 4000]], np.uint16)
    settings: dict[str, Any] = {"SOPClassUID": uid.SecondaryCaptureImageStorage, "RescaleType": "HU"}
    assert grey(make(sixteen, **settings)).tolist() == window_of(sixteen).tolist()
    settings[lacks] = None
    assert grey(make(sixteen, **settings)).tolist() == [[0, 85], [42, 255]]


def test_large_images_and_twelve_stored_bits_are_rendered_like_small_images() -> None:
    large = np.resize(np.arange(-1024, 2048, dtype=np.int16), (300, 300))
    image = make(large, BitsStored=12, HighBit=11, PixelPaddingValue=-1024)
    expected = windowed(large.astype(float), -600, 1500)
    expected[large == -1024] = 0
    np.testing.assert_array_equal(grey(image), expected)
    plain = np.resize(np.arange(100, 4000, dtype=np.uint16), (300, 300))
    found = grey(radiograph(plain, PixelPaddingValue=100))
    assert (found[0, 0], found[0, 1], found.max()) == (0, 0, 255)
    np.testing.assert_array_equal(found[plain > 100], np.rint((plain[plain > 100] - 101.0) * 255 / 3898))


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_padding_is_a_range_and_may_be_given_unsigned(syntax: str) -> None:
    stored = np.array([[-2000, -1900], [-1800, 100]], np.int16)
    image = make(stored, syntax=syntax, RescaleIntercept=1800)
    assert (grey(image) > 0).all()
    image.PixelPaddingValue, image.PixelPaddingRangeLimit = -2000, -1850
    assert (grey(image) > 0).tolist() == [[False, False], [True, True]]


def test_thirty_two_bits_and_floats_are_read() -> None:
    np.testing.assert_array_equal(grey(make(HU.astype(np.int32))), LUNG)
    for dtype, keyword in ((np.float32, "FloatPixelData"), (np.float64, "DoubleFloatPixelData")):
        image = radiograph((HU / 7).astype(np.uint16), Modality="MR", BitsAllocated=8 * np.dtype(dtype).itemsize)
        del image.PixelData, image.BitsStored, image.HighBit, image.PixelRepresentation
        setattr(image, keyword, HU.astype(dtype).tobytes())
        np.testing.assert_array_equal(grey(image), np.rint((HU + 2000) * (255 / 4000)))


def test_single_bits_are_black_and_white() -> None:
    bits = np.array([[0, 1, 1, 0, 1, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0, 1]], np.uint8)
    image = radiograph(bits, BitsAllocated=1, BitsStored=1, HighBit=0)
    image.PixelData = np.packbits(bits, bitorder="little").tobytes()
    assert grey(image).tolist() == (bits * 255).tolist()


@pytest.mark.parametrize(
    ("function", "expected"), [("LINEAR_EXACT", [0, 64, 128, 255]), ("SIGMOID", [30, 69, 128, 225])]
)
def test_other_window_functions_are_those_of_the_standard(function: str, expected: list[int]) -> None:
    stored = np.array([[0, 25], [50, 100]], np.uint16)
    image = radiograph(stored, WindowCenter=50, WindowWidth=100, VOILUTFunction=function)
    assert grey(image).ravel().tolist() == expected


def test_window_without_a_width_is_ignored() -> None:
    sixteen = np.array([[1000, 2000], [1500, 4000]], np.uint16)
    assert grey(radiograph(sixteen, WindowCenter=0, WindowWidth=0)).tolist() == [[0, 85], [42, 255]]


def test_lut_is_applied_to_rescaled_values() -> None:
    item = pydicom.Dataset()
    item.LUTDescriptor = [4, -2, 8]
    item["LUTDescriptor"].VR = "SS"
    item.add_new("LUTData", "US", [0, 255, 20, 100])
    stored = np.arange(4, dtype=np.uint16).reshape(2, 2)
    image = radiograph(stored, PixelRepresentation=0, RescaleSlope=1, RescaleIntercept=-2, VOILUTSequence=[item])
    assert grey(image).tolist() == [[0, 255], [20, 100]]


def test_colour_is_rgb() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3)).astype(np.uint8)
    shot = make(pixels, SOPClassUID=uid.SecondaryCaptureImageStorage)
    image = load(encoded(shot))
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), pixels)
    deep = make(pixels.astype(np.uint16) * 257, SOPClassUID=uid.SecondaryCaptureImageStorage)
    np.testing.assert_array_equal(np.asarray(load(encoded(deep))), pixels)


def test_range_of_deep_colour_is_that_of_its_stored_bits() -> None:
    pixels = np.array([[[0, 4095, 2048]]], np.uint16).repeat(2, axis=1)
    deep = make(pixels, SOPClassUID=uid.SecondaryCaptureImageStorage, BitsStored=12, HighBit=11)
    assert np.asarray(load(encoded(deep)))[0, 0].tolist() == [0, 255, 128]


def test_luma_and_chroma_become_rgb() -> None:
    pixels = np.array([[[76, 85, 255], [128, 128, 128]]], np.uint8)
    shot = make(pixels, SOPClassUID=uid.SecondaryCaptureImageStorage, PhotometricInterpretation="YBR_FULL")
    assert np.asarray(load(encoded(shot)))[0].tolist() == [[254, 0, 0], [128, 128, 128]]
    subsampled = make(pixels, SOPClassUID=uid.SecondaryCaptureImageStorage, PhotometricInterpretation="YBR_FULL_422")
    subsampled.PixelData = bytes([76, 76, 85, 255])
    assert np.asarray(load(encoded(subsampled)))[0].tolist() == [[254, 0, 0]] * 2


def test_palette_is_applied() -> None:
    stored = np.array([[0, 1], [2, 3]], np.uint8)
    image = make(stored, PhotometricInterpretation="PALETTE COLOR", RescaleSlope=None, RescaleIntercept=None)
    for color, values in (("Red", [0, 50, 100, 150]), ("Green", [1, 2, 3, 4]), ("Blue", [9, 9, 9, 255])):
        setattr(image, f"{color}PaletteColorLookupTableDescriptor", [4, 0, 8])
        setattr(image, f"{color}PaletteColorLookupTableData", bytes(values))
    found = np.asarray(load(encoded(image)))
    assert found.reshape(4, 3).tolist() == [[0, 1, 9], [50, 2, 9], [100, 3, 9], [150, 4, 255]]
