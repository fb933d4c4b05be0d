"""Detection of Hounsfield units, and the reason if values are in another unit."""

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
def test_ct_is_in_hounsfield_units_unless_it_names_another_unit(kind: str, stated: str | None) -> None:
    assert unit_of(kind, RescaleType=stated) is None


@pytest.mark.parametrize("stated", ["US", "OD", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT", "ECON"])
@pytest.mark.parametrize("kind", [CT, ENHANCED, PRIVATE])
def test_rescale_type_of_another_unit_is_reported(kind: str, stated: str) -> None:
    assert unit_of(kind, RescaleType=stated) == f"its RescaleType is {stated}"


def test_unknown_rescale_type_is_not_quoted() -> None:
    assert unit_of(RescaleType="GEHEIM") == "its RescaleType is unknown"


def test_unit_of_the_modality_lut_replaces_that_of_the_rescale() -> None:
    assert unit_of(ModalityLUTSequence=[{"ModalityLUTType": "OD"}], RescaleType="HU") == "its RescaleType is OD"
    assert unit_of(ModalityLUTSequence=[{"ModalityLUTType": "HU"}], RescaleType="OD") is None


@pytest.mark.parametrize("kind", [CAPTURE, *(f"{CAPTURE}.{number}" for number in range(1, 5))])
def test_secondary_capture_of_any_modality_is_not_in_hounsfield_units(kind: str) -> None:
    assert unit_of(kind) == "it is a secondary capture"
    assert unit_of(kind, RescaleType="US") == "it is a secondary capture"
    assert unit_of(kind, RescaleType="HU", BitsStored=8) == "it is a secondary capture"  # a screen's greys
    assert unit_of(kind, RescaleType="HU") is None


@pytest.mark.parametrize("modality", ["MR", "PT", "NM", "US"])
def test_other_modalities_are_never_in_hounsfield_units(modality: str) -> None:
    assert unit_of(PET, Modality=modality, RescaleType="HU") == f"its modality is {modality}"


def test_parametric_map_is_not_in_hounsfield_units() -> None:
    assert unit_of(PARAMETRIC, RescaleType="HU") == "it is a parametric map"


def test_other_standard_image_is_in_hounsfield_units_if_stated() -> None:
    cone_beam = f"{IMAGES}.13.1.1"
    assert unit_of(cone_beam, Modality="XA", RescaleType="HU") is None
    assert unit_of(cone_beam) == "it is not a CT image, but derived from one"
    assert unit_of("", Modality=None) == "it is not a CT"


@pytest.mark.parametrize("term", ["EFF_ATOMIC_NUM", "ELECTRON_DENSITY", "MAT_FRACTIONAL", "MAT_VALUE_BASED"])
def test_dual_energy_map_is_not_in_hounsfield_units_even_if_stated(term: str) -> None:
    image_type = ("DERIVED", "PRIMARY", "AXIAL", term)
    assert unit_of(image_type=image_type) == f"its ImageType is {term}"
    assert unit_of(image_type=image_type, RescaleType="HU") == f"its ImageType is {term}"


def test_material_map_is_in_hounsfield_units_if_stated() -> None:
    image_type = ("DERIVED", "PRIMARY", "AXIAL", "MAT_SPECIFIC")
    assert unit_of(image_type=image_type) == "its ImageType is MAT_SPECIFIC"
    assert unit_of(image_type=image_type, RescaleType="HU") is None


@pytest.mark.parametrize("term", ["VMI", "MONOENERGETIC", "MAT_REMOVED"])
def test_virtual_image_is_in_hounsfield_units(term: str) -> None:
    assert unit_of(image_type=("DERIVED", "PRIMARY", "AXIAL", term)) is None


def test_real_world_values_of_another_unit_are_not_hounsfield_units() -> None:
    assert unit_of(units=("mg/ml",)) == "its RealWorldValueMappingSequence has another unit"
    assert unit_of(units=("mg/ml", "[hnsf'U]")) is None
    assert unit_of(units=("mg/ml",), RescaleType="HU") is None


def test_sop_classes_of_ct_are_detected() -> None:
    assert [is_ct_image(kind) for kind in (CT, ENHANCED, CONVERTED, f"{IMAGES}.20", "")] == [True] * 3 + [False] * 2


def test_material_is_found_in_any_spelling() -> None:
    assert material_of(["DERIVED", "PRIMARY", "AXIAL", " mat_removed"]) == "MAT_REMOVED"
    assert material_of([]) is None


@pytest.mark.parametrize("kind", [CT, ENHANCED, PRIVATE, CAPTURE])
@pytest.mark.parametrize("term", ["SCREEN SAVE", "screen save", "SCREEN_SAVE", "SCREENSAVE", " Screen Capture "])
@pytest.mark.parametrize("stated", [None, "HU"])
def test_saved_screen_of_any_sop_class_is_a_secondary_capture(kind: str, term: str, stated: str | None) -> None:
    unit = unit_of(kind, image_type=("DERIVED", "SECONDARY", term), RescaleType=stated)
    assert unit == "it is a secondary capture"


def test_derived_image_of_a_ct_is_not_a_screen() -> None:
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
def test_map_in_vendor_words_is_never_in_hounsfield_units(written: str, meant: str, stated: str | None) -> None:
    image_type = ("DERIVED", "SECONDARY", "AXIAL", written)
    assert material_of(image_type) == meant
    assert unit_of(image_type=image_type, RescaleType=stated) == f"its ImageType is {meant}"


@pytest.mark.parametrize("written", ["IODINE", "Iodine no water", "DE_IODINE", "IODINE/WATER"])
def test_iodine_map_in_vendor_words_is_in_hounsfield_units_if_stated(written: str) -> None:
    image_type = ("DERIVED", "PRIMARY", "AXIAL", written)
    assert material_of(image_type) == "MAT_SPECIFIC"
    assert unit_of(image_type=image_type) == "its ImageType is MAT_SPECIFIC"
    assert unit_of(image_type=image_type, RescaleType="HU") is None


@pytest.mark.parametrize(
    "term", ["GSI MONO", "MONO_70KEV", "MONOE", "RHOMBUS", "THORAX RHODES", "MDCT", "ZEFFIX", "GSI"]
)
def test_words_that_only_contain_vendor_words_are_not_a_map(term: str) -> None:
    assert material_of(["DERIVED", "PRIMARY", "AXIAL", term]) is None
    assert unit_of(image_type=("DERIVED", "PRIMARY", "AXIAL", term)) is None


def test_modality_is_the_same_in_any_spelling() -> None:
    assert [modality_of({"Modality": text}) for text in ("CT", "ct", " Ct \0", "", None)] == ["CT"] * 3 + [""] * 2
    assert unit_of(PRIVATE, Modality=" ct") is None
    assert unit_of(Modality="mr ") == "its modality is MR"
