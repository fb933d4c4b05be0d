"""DICOM files become pixels by stated rules, or an error that tells nothing of the patient."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ctonnx.errors import ImageError
from ctonnx.images import load
from ctonnx.images.dicom.window import windowed
from ctonnx.images.formats import looks_like_image
from ctonnx.images.preprocessing import DicomWindow
from ctonnx.prediction.inputs import find_images

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
uid = pydicom.uid

PATIENT = "GEHEIM^PETER"
HU = np.linspace(-2000, 2000, 40 * 30).reshape(30, 40).round().astype(np.int16)


def make(pixels: NDArray[Any] = HU, *, syntax: str = uid.ExplicitVRLittleEndian, **elements: Any) -> Any:
    """Returns a CT data set of signed 16-bit Hounsfield units; elements change it, None takes one away."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.CTImageStorage, "1.2.3"
    dataset.PatientName, dataset.PatientID, dataset.Modality = PATIENT, PATIENT, "CT"
    frames = pixels.ndim > 2 and pixels.shape[-1] != 3
    dataset.Rows, dataset.Columns = pixels.shape[1:3] if frames else pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.shape[-1] == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if dataset.SamplesPerPixel == 3 else "MONOCHROME2"
    bits = 8 * pixels.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    else:
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    if frames:
        dataset.NumberOfFrames = len(pixels)
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for name, value in elements.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    return dataset


def encoded(dataset: Any) -> bytes:
    data = io.BytesIO()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(data, enforce_file_format=True)
    return data.getvalue()


def grey(dataset: Any, **options: Any) -> NDArray[np.uint8]:
    image = load(encoded(dataset), **options)
    assert image.mode == "L"
    return np.asarray(image)


def grey_of(data: bytes) -> NDArray[np.uint8]:
    image = load(data)
    assert image.mode == "L"
    return np.asarray(image)


def refusal(data: bytes, **options: Any) -> str:
    with pytest.raises(ImageError) as caught:
        load(data, **options)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)  # pydicom's words would hang there
    return caught.value.reason


def window_of(values: NDArray[Any]) -> NDArray[np.uint8]:
    """The lung's."""
    return windowed(np.asarray(values, np.float64), -600, 1500)


LUNG = window_of(HU)

# --- grey ------------------------------------------------------------------------------------------------------------


def test_ct_is_seen_through_the_lungs_window_or_the_models() -> None:
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


def other(pixels: NDArray[Any], **elements: Any) -> Any:
    """A radiograph: no Hounsfield units."""
    settings = {"Modality": "CR", "SOPClassUID": uid.ComputedRadiographyImageStorage}
    return make(pixels, **{**settings, "RescaleSlope": None, "RescaleIntercept": None, **elements})


def test_other_images_are_seen_through_their_own_window() -> None:
    stored = np.arange(1200, dtype=np.uint16).reshape(30, 40)
    found = grey(other(stored, WindowCenter=[600, 1], WindowWidth=[200, 2]))
    np.testing.assert_array_equal(found, windowed(stored.astype(float), 600, 200))


def test_other_images_are_seen_through_their_own_lut() -> None:
    item = pydicom.Dataset()
    item.LUTDescriptor = [4, 0, 8]
    item.add_new("LUTData", "US", [0, 255, 20, 100])
    stored = np.arange(4, dtype=np.uint16).reshape(2, 2)
    assert grey(other(stored, VOILUTSequence=[item])).tolist() == [[0, 255], [20, 100]]


def test_other_images_of_eight_bits_are_as_they_are_and_of_more_are_stretched() -> None:
    eight = np.arange(100, 160, dtype=np.uint8).reshape(6, 10)
    np.testing.assert_array_equal(grey(other(eight)), eight)
    sixteen = np.array([[1000, 2000], [1500, 4000]], np.uint16)
    assert grey(other(sixteen)).tolist() == [[0, 85], [42, 255]]
    assert grey(other(sixteen, PixelPaddingValue=4000)).tolist() == [[0, 255], [128, 0]]


def test_screenshot_of_a_ct_is_no_ct() -> None:
    eight = np.arange(100, 160, dtype=np.uint8).reshape(6, 10)
    shot = make(eight, SOPClassUID=uid.SecondaryCaptureImageStorage, RescaleSlope=None, RescaleIntercept=None)
    np.testing.assert_array_equal(grey(shot), eight)


@pytest.mark.parametrize("kind", [uid.CTImageStorage, uid.EnhancedCTImageStorage])
@pytest.mark.parametrize("lacks", ["RescaleIntercept", "RescaleSlope"])
def test_ct_without_its_rescale_is_refused_as_its_values_are_no_hounsfield_units(kind: str, lacks: str) -> None:
    raw = np.full((6, 10), 300, np.uint16)
    lack: dict[str, Any] = {lacks: None}
    image = make(raw, SOPClassUID=kind, WindowCenter=300, WindowWidth=100, RescaleType="HU", **lack)
    assert refusal(encoded(image)) == (
        f"a DICOM {uid.UID(kind).name} without {lacks}, so that its values are no Hounsfield units; export it again "
        "with it"
    )


@pytest.mark.parametrize("lacks", ["RescaleIntercept", "RescaleSlope"])
def test_image_of_another_kind_is_in_hounsfield_units_only_where_it_has_a_whole_rescale(lacks: str) -> None:
    sixteen = np.array([[1000, 2000], [1500, 4000]], np.uint16)
    settings: dict[str, Any] = {"SOPClassUID": uid.SecondaryCaptureImageStorage, "RescaleType": "HU"}
    assert grey(make(sixteen, **settings)).tolist() == window_of(sixteen).tolist()
    settings[lacks] = None
    assert grey(make(sixteen, **settings)).tolist() == [[0, 85], [42, 255]]


def test_twelve_stored_bits_and_large_images_are_seen_as_small_ones_are() -> None:
    large = np.resize(np.arange(-1024, 2048, dtype=np.int16), (300, 300))
    image = make(large, BitsStored=12, HighBit=11, PixelPaddingValue=-1024)
    expected = windowed(large.astype(float), -600, 1500)
    expected[large == -1024] = 0
    np.testing.assert_array_equal(grey(image), expected)
    plain = np.resize(np.arange(100, 4000, dtype=np.uint16), (300, 300))
    found = grey(other(plain, PixelPaddingValue=100))
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
        image = other((HU / 7).astype(np.uint16), Modality="MR", BitsAllocated=8 * np.dtype(dtype).itemsize)
        del image.PixelData, image.BitsStored, image.HighBit, image.PixelRepresentation
        setattr(image, keyword, HU.astype(dtype).tobytes())
        np.testing.assert_array_equal(grey(image), np.rint((HU + 2000) * (255 / 4000)))


def test_single_bits_are_black_and_white() -> None:
    bits = np.array([[0, 1, 1, 0, 1, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0, 1]], np.uint8)
    image = other(bits, BitsAllocated=1, BitsStored=1, HighBit=0)
    image.PixelData = np.packbits(bits, bitorder="little").tobytes()
    assert grey(image).tolist() == (bits * 255).tolist()


@pytest.mark.parametrize(
    ("function", "expected"), [("LINEAR_EXACT", [0, 64, 128, 255]), ("SIGMOID", [30, 69, 128, 225])]
)
def test_window_of_another_function_is_the_standards(function: str, expected: list[int]) -> None:
    stored = np.array([[0, 25], [50, 100]], np.uint16)
    image = other(stored, WindowCenter=50, WindowWidth=100, VOILUTFunction=function)
    assert grey(image).ravel().tolist() == expected


def test_window_without_a_width_is_none() -> None:
    sixteen = np.array([[1000, 2000], [1500, 4000]], np.uint16)
    assert grey(other(sixteen, WindowCenter=0, WindowWidth=0)).tolist() == [[0, 85], [42, 255]]


def test_lut_is_entered_with_rescaled_values() -> None:
    item = pydicom.Dataset()
    item.LUTDescriptor = [4, -2, 8]
    item["LUTDescriptor"].VR = "SS"
    item.add_new("LUTData", "US", [0, 255, 20, 100])
    stored = np.arange(4, dtype=np.uint16).reshape(2, 2)
    image = other(stored, PixelRepresentation=0, RescaleSlope=1, RescaleIntercept=-2, VOILUTSequence=[item])
    assert grey(image).tolist() == [[0, 255], [20, 100]]


# --- colour ----------------------------------------------------------------------------------------------------------


def test_colour_is_rgb() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3)).astype(np.uint8)
    shot = make(pixels, SOPClassUID=uid.SecondaryCaptureImageStorage)
    image = load(encoded(shot))
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), pixels)
    deep = make(pixels.astype(np.uint16) * 257, SOPClassUID=uid.SecondaryCaptureImageStorage)
    np.testing.assert_array_equal(np.asarray(load(encoded(deep))), pixels)


def test_stored_bits_of_deep_colour_are_its_range() -> None:
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


# --- files and folders -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.dcm", "a.DICOM", "a.ima"])
def test_file_is_known_by_its_ending(name: str) -> None:
    assert looks_like_image(name)


@pytest.mark.parametrize("name", ["bare.dcm", "bare"])
@pytest.mark.parametrize("begin", [128, 132])
def test_file_without_preamble_is_read_whatever_its_name(name: str, begin: int, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(encoded(make())[begin:])
    np.testing.assert_array_equal(np.asarray(load(tmp_path / name)), LUNG)


def test_file_that_does_not_say_how_it_is_encoded_is_read_where_that_shows(tmp_path: Path) -> None:
    for syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian):
        data = encoded(make(syntax=syntax))
        begin = 144 + int.from_bytes(data[140:144], "little")
        (tmp_path / "bare.dcm").write_bytes(data[begin:])
        np.testing.assert_array_equal(np.asarray(load(tmp_path / "bare.dcm")), LUNG)
    (tmp_path / "bare.dcm").write_bytes(b"\b\0" + b"GEHEIM^PETER" * 30)
    with pytest.raises(ImageError, match=r": (not a|damaged) DICOM file$"):
        load(tmp_path / "bare.dcm")


def test_index_of_a_medium_is_no_image() -> None:
    index = make(SOPClassUID=uid.MediaStorageDirectoryStorage, Modality=None, Rows=None, PixelData=None)
    assert refusal(encoded(index)) == "a DICOM Media Storage Directory Storage without pixels (it has no PixelData)"


def test_series_without_endings_is_a_folder_of_images_and_its_index_is_none(tmp_path: Path) -> None:
    for name in ("IM0001", "IM0002", "DICOMDIR"):
        (tmp_path / name).write_bytes(encoded(make()))
    assert find_images([str(tmp_path)]) == [str(tmp_path / "IM0001"), str(tmp_path / "IM0002")]
    assert find_images([str(tmp_path / "DICOMDIR")]) == [str(tmp_path / "DICOMDIR")]


# --- other units -----------------------------------------------------------------------------------------------------

EIGHT = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
CAPTURES = [
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
]


def caution_of(dataset: Any, frame: int = 0) -> str | None:
    return load(encoded(dataset), frame=frame).caution


@pytest.mark.parametrize("kind", CAPTURES)
@pytest.mark.parametrize("stated", [None, "US"])
def test_capture_of_a_ct_is_seen_as_it_was_on_the_screen(kind: str, stated: str | None) -> None:
    plain = make(EIGHT, SOPClassUID=kind)
    if stated:
        plain.RescaleType = stated
    np.testing.assert_array_equal(grey(plain), EIGHT)
    assert caution_of(plain) == "its values are no Hounsfield units: it is a secondary capture"
    plain.WindowCenter, plain.WindowWidth = 100, 50
    np.testing.assert_array_equal(grey(plain), windowed(EIGHT.astype(float), 100, 50))
    plain.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_array_equal(grey(plain), 255 - windowed(EIGHT.astype(float), 100, 50))


def test_capture_in_colour_has_a_caution() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3)).astype(np.uint8)
    shot = make(pixels, SOPClassUID=uid.MultiFrameTrueColorSecondaryCaptureImageStorage)
    assert caution_of(shot) == "its values are no Hounsfield units: it is a secondary capture"
    shot.SOPClassUID = uid.CTImageStorage
    assert caution_of(shot) == "its values are no Hounsfield units: they are colours"


@pytest.mark.parametrize("rescale", [1, None])
def test_saved_screen_in_a_ct_image_is_seen_as_it_was_on_the_screen(rescale: int | None) -> None:
    shot = make(EIGHT, ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"], RescaleSlope=rescale)
    np.testing.assert_array_equal(grey(shot), EIGHT)
    assert caution_of(shot) == "its values are no Hounsfield units: it is a secondary capture"
    shot.WindowCenter, shot.WindowWidth = 100, 50
    np.testing.assert_array_equal(grey(shot), windowed(EIGHT.astype(float), 100, 50))


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")  # of what this test writes
def test_map_of_iodine_in_hounsfield_units_has_a_caution() -> None:
    image = make(ImageType=["DERIVED", "PRIMARY", "AXIAL", "Iodine"], RescaleType="HU")
    np.testing.assert_array_equal(grey(image), grey(make()))
    assert caution_of(image) == "a map of a material, not a slice: its ImageType is MAT_SPECIFIC"


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_modality_in_small_letters_is_a_ct() -> None:
    small = make(Modality="ct")
    np.testing.assert_array_equal(grey(small), grey(make()))
    assert caution_of(small) is None


@pytest.mark.parametrize("kind", [uid.CTImageStorage, uid.EnhancedCTImageStorage])
def test_map_of_dual_energy_ct_is_seen_through_its_own_window(kind: str) -> None:
    stored = np.arange(1200, dtype=np.uint16).reshape(30, 40)
    effective = make(stored, SOPClassUID=kind, RescaleSlope=0.01, RescaleType="Z_EFF", WindowCenter=7, WindowWidth=4)
    np.testing.assert_array_equal(grey(effective), windowed(stored.astype(float) * 0.01, 7, 4))
    assert caution_of(effective) == "its values are no Hounsfield units: its RescaleType is Z_EFF"
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
    assert [caution_of(enhanced, frame) for frame in range(3)] == [
        None,
        "its values are no Hounsfield units: its RescaleType is EDW",
        "a map of a material, not a slice: its ImageType is MAT_SPECIFIC",
    ]


def test_unit_of_all_frames_stands_in_the_shared_group() -> None:
    transform, group = pydicom.Dataset(), pydicom.Dataset()
    transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = 1, 0, "PCT"
    group.PixelValueTransformationSequence = [transform]
    enhanced = make(np.stack([HU, HU]), SOPClassUID=uid.EnhancedCTImageStorage, RescaleSlope=None)
    enhanced.SharedFunctionalGroupsSequence = [group]
    assert caution_of(enhanced, 1) == "its values are no Hounsfield units: its RescaleType is PCT"


def test_real_world_values_tell_a_unit_that_the_rescale_does_not() -> None:
    unit, mapping = pydicom.Dataset(), pydicom.Dataset()
    unit.CodeValue, mapping.MeasurementUnitsCodeSequence = "mg/ml", [unit]
    iodine = make(RealWorldValueMappingSequence=[mapping])
    assert caution_of(iodine) == (
        "its values are no Hounsfield units: its RealWorldValueMappingSequence has another unit"
    )
    unit.CodeValue = "[hnsf'U]"
    assert caution_of(iodine) is None
    np.testing.assert_array_equal(grey(iodine), LUNG)


def test_parametric_map_of_floats_is_seen_through_its_own_window() -> None:
    flow = make(HU.astype(np.uint16), SOPClassUID=uid.ParametricMapStorage, BitsAllocated=32, RescaleSlope=None)
    del flow.PixelData, flow.BitsStored, flow.HighBit, flow.PixelRepresentation
    flow.FloatPixelData = HU.astype(np.float32).tobytes()
    flow.WindowCenter, flow.WindowWidth = 0, 100
    np.testing.assert_array_equal(grey(flow), windowed(HU.astype(float), 0, 100))
    assert caution_of(flow) == "its values are no Hounsfield units: it is a parametric map"


@pytest.mark.parametrize(
    ("kind", "modality"),
    [
        (uid.MRImageStorage, "MR"),
        (uid.PositronEmissionTomographyImageStorage, "PT"),
        (uid.NuclearMedicineImageStorage, "NM"),
    ],
)
def test_rescaled_image_of_another_modality_is_seen_through_its_own_window(kind: str, modality: str) -> None:
    image = make(SOPClassUID=kind, Modality=modality, RescaleSlope=2, WindowCenter=0, WindowWidth=500)
    np.testing.assert_array_equal(grey(image), windowed(HU.astype(float) * 2, 0, 500))
    assert caution_of(image) == f"no CT: its modality is {modality}"
