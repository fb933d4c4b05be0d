"""Values are Hounsfield units where the standard says so, and else in another unit that is named."""

from typing import Any

import pytest

from ctonnx.images.dicom.hounsfield import is_ct_image, material_of, modality_of, other_unit

IMAGES = "1.2.840.10008.5.1.4.1.1"
CT, ENHANCED, CONVERTED = f"{IMAGES}.2", f"{IMAGES}.2.1", f"{IMAGES}.2.2"
CAPTURE, PARAMETRIC, PET, PRIVATE = f"{IMAGES}.7", f"{IMAGES}.30", f"{IMAGES}.128", "1.3.46.670589.5.0.1"


def unit_of(kind: str = CT, *, image_type: tuple[str, ...] = (), units: tuple[str, ...] = (), **elements: Any) -> Any:
    header = {"Modality": "CT", "BitsStored": 12, **elements}
    return other_unit(header, header, kind=kind, image_type=image_type, units=units)


@pytest.mark.parametrize("kind", [CT, ENHANCED, CONVERTED, PRIVATE, ""])
@pytest.mark.parametrize("stated", [None, "", "HU", "hu ", "Hounsfield units"])
def test_ct_is_in_hounsfield_units_where_it_names_no_other(kind: str, stated: str | None) -> None:
    assert unit_of(kind, RescaleType=stated) is None


@pytest.mark.parametrize("stated", ["US", "OD", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT", "ECON"])
@pytest.mark.parametrize("kind", [CT, ENHANCED, PRIVATE])
def test_rescale_type_of_another_unit_is_named(kind: str, stated: str) -> None:
    assert unit_of(kind, RescaleType=stated) == f"its RescaleType is {stated}"


def test_rescale_type_that_is_none_of_the_standards_is_not_quoted() -> None:
    assert unit_of(RescaleType="GEHEIM") == "its RescaleType is unknown"


def test_modality_lut_says_its_unit_in_place_of_the_rescale() -> None:
    assert unit_of(ModalityLUTSequence=[{"ModalityLUTType": "OD"}], RescaleType="HU") == "its RescaleType is OD"
    assert unit_of(ModalityLUTSequence=[{"ModalityLUTType": "HU"}], RescaleType="OD") is None


@pytest.mark.parametrize("kind", [CAPTURE, *(f"{CAPTURE}.{number}" for number in range(1, 5))])
def test_secondary_capture_is_none_whatever_its_modality(kind: str) -> None:
    assert unit_of(kind) == "it is a secondary capture"
    assert unit_of(kind, RescaleType="US") == "it is a secondary capture"
    assert unit_of(kind, RescaleType="HU", BitsStored=8) == "it is a secondary capture"  # a screen's greys
    assert unit_of(kind, RescaleType="HU") is None


@pytest.mark.parametrize("modality", ["MR", "PT", "NM", "US"])
def test_other_modalities_are_none_whatever_they_say(modality: str) -> None:
    assert unit_of(PET, Modality=modality, RescaleType="HU") == f"its modality is {modality}"


def test_parametric_map_is_none() -> None:
    assert unit_of(PARAMETRIC, RescaleType="HU") == "it is a parametric map"


def test_other_standard_image_is_where_it_says_so() -> None:
    cone_beam = f"{IMAGES}.13.1.1"
    assert unit_of(cone_beam, Modality="XA", RescaleType="HU") is None
    assert unit_of(cone_beam) == "it is not a CT image, but derived from one"
    assert unit_of("", Modality=None) == "it is not a CT"


@pytest.mark.parametrize("term", ["EFF_ATOMIC_NUM", "ELECTRON_DENSITY", "MAT_FRACTIONAL", "MAT_VALUE_BASED"])
def test_map_of_dual_energy_ct_is_none_even_where_it_says_so(term: str) -> None:
    image_type = ("DERIVED", "PRIMARY", "AXIAL", term)
    assert unit_of(image_type=image_type) == f"its ImageType is {term}"
    assert unit_of(image_type=image_type, RescaleType="HU") == f"its ImageType is {term}"


def test_map_of_a_material_is_where_it_says_so() -> None:
    image_type = ("DERIVED", "PRIMARY", "AXIAL", "MAT_SPECIFIC")
    assert unit_of(image_type=image_type) == "its ImageType is MAT_SPECIFIC"
    assert unit_of(image_type=image_type, RescaleType="HU") is None


@pytest.mark.parametrize("term", ["VMI", "MONOENERGETIC", "MAT_REMOVED"])
def test_virtual_image_is_in_hounsfield_units(term: str) -> None:
    assert unit_of(image_type=("DERIVED", "PRIMARY", "AXIAL", term)) is None


def test_real_world_values_of_another_unit_are_none() -> None:
    assert unit_of(units=("mg/ml",)) == "its RealWorldValueMappingSequence has another unit"
    assert unit_of(units=("mg/ml", "[hnsf'U]")) is None
    assert unit_of(units=("mg/ml",), RescaleType="HU") is None


def test_kinds_of_ct_are_known() -> None:
    assert [is_ct_image(kind) for kind in (CT, ENHANCED, CONVERTED, f"{IMAGES}.20", "")] == [True] * 3 + [False] * 2


def test_material_is_found_however_it_is_written() -> None:
    assert material_of(["DERIVED", "PRIMARY", "AXIAL", " mat_removed"]) == "MAT_REMOVED"
    assert material_of([]) is None


@pytest.mark.parametrize("kind", [CT, ENHANCED, PRIVATE, CAPTURE])
@pytest.mark.parametrize("term", ["SCREEN SAVE", "screen save", "SCREEN_SAVE", "SCREENSAVE", " Screen Capture "])
@pytest.mark.parametrize("stated", [None, "HU"])
def test_saved_screen_is_a_secondary_capture_whatever_its_kind(kind: str, term: str, stated: str | None) -> None:
    unit = unit_of(kind, image_type=("DERIVED", "SECONDARY", term), RescaleType=stated)
    assert unit == "it is a secondary capture"


def test_derived_image_of_a_ct_is_no_screen() -> None:
    assert unit_of(image_type=("DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE")) is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("RHO", "ELECTRON_DENSITY"),
        ("DE_RHO", "ELECTRON_DENSITY"),
        ("Electron Density", "ELECTRON_DENSITY"),
        ("Z_EFF", "EFF_ATOMIC_NUM"),
        ("zeff", "EFF_ATOMIC_NUM"),
        ("Z EFFECTIVE", "EFF_ATOMIC_NUM"),
        ("GSI MD", "MAT_VALUE_BASED"),
        ("gsi md water", "MAT_VALUE_BASED"),
    ],
)
@pytest.mark.parametrize("stated", [None, "HU"])
def test_map_in_a_vendors_words_is_none_even_where_it_says_so(written: str, meant: str, stated: str | None) -> None:
    image_type = ("DERIVED", "SECONDARY", "AXIAL", written)
    assert material_of(image_type) == meant
    assert unit_of(image_type=image_type, RescaleType=stated) == f"its ImageType is {meant}"


@pytest.mark.parametrize("written", ["IODINE", "Iodine no water", "DE_IODINE", "IODINE/WATER"])
def test_map_of_iodine_in_a_vendors_words_is_where_it_says_so(written: str) -> None:
    image_type = ("DERIVED", "PRIMARY", "AXIAL", written)
    assert material_of(image_type) == "MAT_SPECIFIC"
    assert unit_of(image_type=image_type) == "its ImageType is MAT_SPECIFIC"
    assert unit_of(image_type=image_type, RescaleType="HU") is None


@pytest.mark.parametrize(
    "term", ["GSI MONO", "MONO_70KEV", "MONOE", "RHOMBUS", "THORAX RHODES", "MDCT", "ZEFFIX", "GSI"]
)
def test_words_that_only_hold_a_vendors_are_no_map(term: str) -> None:
    assert material_of(["DERIVED", "PRIMARY", "AXIAL", term]) is None
    assert unit_of(image_type=("DERIVED", "PRIMARY", "AXIAL", term)) is None


def test_modality_is_the_same_however_it_is_written() -> None:
    assert [modality_of({"Modality": text}) for text in ("CT", "ct", " Ct \0", "", None)] == ["CT"] * 3 + [""] * 2
    assert unit_of(PRIVATE, Modality=" ct") is None
    assert unit_of(Modality="mr ") == "its modality is MR"
