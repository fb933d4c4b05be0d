"""Invalid elements of a header, and warnings about a frame."""

from typing import Any

import pytest

from ctonnx.images.dicom.header import Fault, acquisition_of, cautions_of, find_invalid_element, number

GOOD = {"PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "RescaleSlope": 1.0}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, None),
        ({"RescaleSlope": None}, None),
        ({"RescaleSlope": "GEHEIM"}, "its RescaleSlope is not a number"),
        ({"WindowCenter": [40.0, float("nan")]}, "its WindowCenter is not a number"),
        ({"NumberOfFrames": "GEHEIM"}, "its NumberOfFrames is not a whole number"),
        ({"SamplesPerPixel": 2}, "its SamplesPerPixel has an unknown value"),
        ({"BitsAllocated": None}, "its BitsAllocated is empty"),
    ],
)
def test_first_invalid_element_is_reported(changed: dict[str, Any], expected: str | None) -> None:
    assert find_invalid_element({**GOOD, **changed}) == expected


def test_unreadable_element_is_reported() -> None:
    class Header(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            if key == "Rows":
                raise ValueError("GEHEIM")
            return super().get(key, default)

    assert find_invalid_element(Header(GOOD)) == "its Rows cannot be read"


@pytest.mark.parametrize(("value", "expected"), [(2, 2.0), ("0.5", 0.5), (None, None), ("", None)])
def test_number_is_read_and_an_empty_one_is_none(value: object, expected: float | None) -> None:
    assert number({"RescaleSlope": value}, "RescaleSlope") == expected


@pytest.mark.parametrize("value", ["GEHEIM", [1, 2], float("inf")])
def test_value_that_is_not_a_number_is_a_fault(value: object) -> None:
    with pytest.raises(Fault, match=r"^its RescaleSlope is not a number$"):
        number({"RescaleSlope": value}, "RescaleSlope")


@pytest.mark.parametrize("modality", ["CT", "ct", " Ct\0", "", None])
def test_ct_has_no_warning_in_any_spelling_of_its_modality(modality: str | None) -> None:
    assert list(cautions_of({"Modality": modality}, image_type=["ORIGINAL", "PRIMARY", "AXIAL"], unit=None)) == []


def test_other_modality_and_localizer_are_detected_in_any_spelling() -> None:
    found = cautions_of({"Modality": "mr "}, image_type=["original", "primary", "localizer"], unit=None)
    assert list(found) == ["a localizer (scout), not a slice", "not a CT: its modality is MR"]


def test_text_of_a_scanner_cannot_control_a_terminal() -> None:
    found = acquisition_of({"Manufacturer": "ACME\x1b[2J  CT", "ManufacturerModelName": "A\nB"})
    assert found == {"manufacturer": "ACME\\x1b[2J CT", "model": "A B"}
