"""Frames whose values are not Hounsfield units: they are rendered by their own window, with a warning."""

from typing import Any

import numpy as np
import pytest

from ctonnx.images import load
from ctonnx.images.dicom.rendering.window import windowed

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
uid = pydicom.uid

from tests.runtime.images.dicom.dicom_files import HU, LUNG, encoded, grey, make, window_of  # noqa: E402 - it needs pydicom

EIGHT = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
CAPTURES = [
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
]


def warning_of(dataset: Any, frame: int = 0) -> str | None:
    return load(encoded(dataset), frame=frame).caution


@pytest.mark.parametrize("kind", CAPTURES)
@pytest.mark.parametrize("stated", [None, "US"])
def test_secondary_capture_is_rendered_as_on_the_screen(kind: str, stated: str | None) -> None:
    plain = make(EIGHT, SOPClassUID=kind)
    if stated:
        plain.RescaleType = stated
    np.testing.assert_array_equal(grey(plain), EIGHT)
    assert warning_of(plain) == "its values are not Hounsfield units: it is a secondary capture"
    plain.WindowCenter, plain.WindowWidth = 100, 50
    np.testing.assert_array_equal(grey(plain), windowed(EIGHT.astype(float), 100, 50))
    plain.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_array_equal(grey(plain), 255 - windowed(EIGHT.astype(float), 100, 50))


def test_secondary_capture_in_colour_has_a_warning() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3)).astype(np.uint8)
    shot = make(pixels, SOPClassUID=uid.MultiFrameTrueColorSecondaryCaptureImageStorage)
    assert warning_of(shot) == "its values are not Hounsfield units: it is a secondary capture"
    shot.SOPClassUID = uid.CTImageStorage
    assert warning_of(shot) == "its values are not Hounsfield units: they are colours"


@pytest.mark.parametrize("rescale", [1, None])
def test_saved_screen_in_a_ct_image_is_rendered_as_on_the_screen(rescale: int | None) -> None:
    shot = make(EIGHT, ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"], RescaleSlope=rescale)
    np.testing.assert_array_equal(grey(shot), EIGHT)
    assert warning_of(shot) == "its values are not Hounsfield units: it is a secondary capture"
    shot.WindowCenter, shot.WindowWidth = 100, 50
    np.testing.assert_array_equal(grey(shot), windowed(EIGHT.astype(float), 100, 50))


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")  # written by this test
def test_iodine_map_in_hounsfield_units_has_a_warning() -> None:
    image = make(ImageType=["DERIVED", "PRIMARY", "AXIAL", "Iodine"], RescaleType="HU")
    np.testing.assert_array_equal(grey(image), grey(make()))
    assert warning_of(image) == "a map of a material, not a slice: its ImageType is MAT_SPECIFIC"


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_modality_in_small_letters_is_a_ct() -> None:
    small = make(Modality="ct")
    np.testing.assert_array_equal(grey(small), grey(make()))
    assert warning_of(small) is None


@pytest.mark.parametrize("kind", [uid.CTImageStorage, uid.EnhancedCTImageStorage])
def test_dual_energy_map_is_rendered_with_its_own_window(kind: str) -> None:
    stored = np.arange(1200, dtype=np.uint16).reshape(30, 40)
    effective = make(stored, SOPClassUID=kind, RescaleSlope=0.01, RescaleType="Z_EFF", WindowCenter=7, WindowWidth=4)
    np.testing.assert_array_equal(grey(effective), windowed(stored.astype(float) * 0.01, 7, 4))
    assert warning_of(effective) == "its values are not Hounsfield units: its RescaleType is Z_EFF"
    del effective.WindowCenter, effective.WindowWidth
    np.testing.assert_array_equal(grey(effective), np.rint(stored * (255 / 1199)))


def test_each_frame_of_an_enhanced_ct_has_its_own_unit() -> None:
    groups = []
    for stated, term in (("HU", "VMI"), ("EDW", "ELECTRON_DENSITY"), ("HU", "MAT_SPECIFIC")):
        transform, kind, group = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = 1, 0, stated
        kind.FrameType = ["DERIVED", "PRIMARY", "VOLUME", term]
        group.PixelValueTransformationSequence, group.CTImageFrameTypeSequence = [transform], [kind]
        groups.append(group)
    enhanced = make(np.stack([HU, HU, HU]), SOPClassUID=uid.EnhancedCTImageStorage, RescaleSlope=None)
    enhanced.PerFrameFunctionalGroupsSequence = groups
    np.testing.assert_array_equal(grey(enhanced, frame=0), LUNG)
    np.testing.assert_array_equal(grey(enhanced, frame=1), np.rint((HU + 2000) * (255 / 4000)))
    np.testing.assert_array_equal(grey(enhanced, frame=2), LUNG)
    assert [warning_of(enhanced, frame) for frame in range(3)] == [
        None,
        "its values are not Hounsfield units: its RescaleType is EDW",
        "a map of a material, not a slice: its ImageType is MAT_SPECIFIC",
    ]


def test_unit_of_all_frames_is_read_from_the_shared_group() -> None:
    transform, group = pydicom.Dataset(), pydicom.Dataset()
    transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = 1, 0, "PCT"
    group.PixelValueTransformationSequence = [transform]
    enhanced = make(np.stack([HU, HU]), SOPClassUID=uid.EnhancedCTImageStorage, RescaleSlope=None)
    enhanced.SharedFunctionalGroupsSequence = [group]
    assert warning_of(enhanced, 1) == "its values are not Hounsfield units: its RescaleType is PCT"


def test_unit_of_the_real_world_values_counts_without_a_rescale_type() -> None:
    unit, mapping = pydicom.Dataset(), pydicom.Dataset()
    unit.CodeValue, mapping.MeasurementUnitsCodeSequence = "mg/ml", [unit]
    iodine = make(RealWorldValueMappingSequence=[mapping])
    assert warning_of(iodine) == (
        "its values are not Hounsfield units: its RealWorldValueMappingSequence has another unit"
    )
    unit.CodeValue = "[hnsf'U]"
    assert warning_of(iodine) is None
    np.testing.assert_array_equal(grey(iodine), LUNG)


def test_parametric_map_of_floats_is_rendered_with_its_own_window() -> None:
    flow = make(HU.astype(np.uint16), SOPClassUID=uid.ParametricMapStorage, BitsAllocated=32, RescaleSlope=None)
    del flow.PixelData, flow.BitsStored, flow.HighBit, flow.PixelRepresentation
    flow.FloatPixelData = HU.astype(np.float32).tobytes()
    flow.WindowCenter, flow.WindowWidth = 0, 100
    np.testing.assert_array_equal(grey(flow), windowed(HU.astype(float), 0, 100))
    assert warning_of(flow) == "its values are not Hounsfield units: it is a parametric map"


@pytest.mark.parametrize(
    ("kind", "modality"),
    [
        (uid.MRImageStorage, "MR"),
        (uid.PositronEmissionTomographyImageStorage, "PT"),
        (uid.NuclearMedicineImageStorage, "NM"),
    ],
)
def test_rescaled_image_of_another_modality_is_rendered_with_its_own_window(kind: str, modality: str) -> None:
    image = make(SOPClassUID=kind, Modality=modality, RescaleSlope=2, WindowCenter=0, WindowWidth=500)
    np.testing.assert_array_equal(grey(image), windowed(HU.astype(float) * 2, 0, 500))
    assert warning_of(image) == f"not a CT: its modality is {modality}"


def test_frame_has_its_own_rescale() -> None:
    frames = []
    for intercept in (0, -100):
        transform, group = pydicom.Dataset(), pydicom.Dataset()
        transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = 1, intercept, "HU"
        group.PixelValueTransformationSequence = [transform]
        frames.append(group)
    enhanced = make(
        np.stack([HU, HU]), SOPClassUID=uid.EnhancedCTImageStorage, RescaleSlope=None, RescaleIntercept=None
    )
    enhanced.PerFrameFunctionalGroupsSequence = frames
    np.testing.assert_array_equal(grey(enhanced, frame=0), LUNG)
    np.testing.assert_array_equal(grey(enhanced, frame=1), window_of(HU - 100.0))
