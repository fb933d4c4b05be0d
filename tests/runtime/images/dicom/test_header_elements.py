"""DICOM files with a missing or invalid element: the error names it."""

from typing import Any

import numpy as np
import pytest

from ctonnx.images import load

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
uid = pydicom.uid

from tests.runtime.images.dicom.dicom_files import HU, LUNG, encoded, error_of, make  # noqa: E402 - it needs pydicom

NEEDED = [
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
]


@pytest.mark.parametrize("keyword", NEEDED)
def test_missing_or_empty_element_is_reported(keyword: str) -> None:
    missing: dict[str, Any] = {keyword: None}
    assert error_of(encoded(make(**missing))) == f"damaged DICOM file: it has no {keyword}"
    image = make()
    image[keyword].value = None
    assert error_of(encoded(image)) == f"damaged DICOM file: its {keyword} is empty"


@pytest.mark.parametrize("kind", [uid.CTImageStorage, uid.MRImageStorage, uid.SecondaryCaptureImageStorage])
def test_missing_pixels_are_reported(kind: str) -> None:
    expected = f"a DICOM {uid.UID(kind).name} without pixels (it has no PixelData)"
    assert error_of(encoded(make(PixelData=None, SOPClassUID=kind))) == expected


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"BitsStored": 0}, "its BitsStored is not from 1 to its BitsAllocated"),
        ({"BitsStored": 17}, "its BitsStored is not from 1 to its BitsAllocated"),
        ({"BitsAllocated": 12}, "its BitsAllocated has an unknown value"),
        ({"SamplesPerPixel": 2}, "its SamplesPerPixel has an unknown value"),
        ({"SamplesPerPixel": [1, 3]}, "its SamplesPerPixel has an unknown value"),
        ({"Rows": [30, 40]}, "its Rows is not a whole number"),
        ({"NumberOfFrames": -1}, "its NumberOfFrames is below 0"),
        ({"NumberOfFrames": [1, 2]}, "its NumberOfFrames is not a whole number"),
    ],
)
def test_invalid_element_is_reported(elements: dict[str, Any], reason: str) -> None:
    assert error_of(encoded(make(**elements))) == f"damaged DICOM file: {reason}"


@pytest.mark.parametrize("frames", [0, ""])
def test_missing_number_of_frames_is_one(frames: object) -> None:
    assert load(encoded(make(NumberOfFrames=frames))).image.tobytes() == LUNG.tobytes()


@pytest.mark.parametrize("elements", [{"WindowWidth": 0}, {"WindowCenter": None, "WindowWidth": 100}])
def test_invalid_window_that_is_not_needed_is_ignored(elements: dict[str, Any]) -> None:
    image = make()
    for keyword, value in elements.items():
        image.add_new(keyword, "DS", value)
    assert load(encoded(image)).image.tobytes() == LUNG.tobytes()


def palette(**elements: Any) -> Any:
    image = make(HU.astype(np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for color in ("Red", "Green", "Blue"):
        setattr(image, f"{color}PaletteColorLookupTableDescriptor", [256, 0, 8])
        setattr(image, f"{color}PaletteColorLookupTableData", bytes(range(256)))
    for keyword, value in elements.items():
        if value is None:
            delattr(image, keyword)
        else:
            image[keyword].value = value
    return image


@pytest.mark.parametrize("color", ["Red", "Green", "Blue"])
def test_invalid_element_of_a_palette_is_reported(color: str) -> None:
    name = f"{color}PaletteColorLookupTable"
    assert load(encoded(palette())).mode == "RGB"
    missing, odd = palette(**{f"{name}Descriptor": None}), palette(**{f"{name}Descriptor": [256, 0]})
    assert error_of(encoded(missing)) == f"damaged DICOM file: it has no {name}Descriptor"
    assert error_of(encoded(odd)) == f"damaged DICOM file: its {name}Descriptor is not three numbers"
    assert error_of(encoded(palette(**{f"{name}Data": None}))) == f"damaged DICOM file: it has no {name}Data"


@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_invalid_element_of_a_lookup_table_is_reported(sequence: str) -> None:
    item = pydicom.Dataset()
    item.add_new("LUTData", "US", [0, 40, 80, 120])
    image = make(RescaleSlope=None, RescaleIntercept=None, Modality="CR", SOPClassUID=uid.SecondaryCaptureImageStorage)
    setattr(image, sequence, [item])
    assert error_of(encoded(image)) == f"damaged DICOM file: the LUTDescriptor of its {sequence} is missing"
    del item.LUTData
    item.add_new("LUTDescriptor", "US", [4, 0, 16])
    assert error_of(encoded(image)) == "damaged DICOM file: it has no LUTData"
