"""Common part of all objects of a series."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from tests.runtime.prediction.made_groups import with_rule
from tests.runtime.server.pacs.results.made_results import change, model_of, result_of

from ctonnx.server.pacs.results.codes import ClassCodes
from ctonnx.server.pacs.results.document import ObjectKind, SeriesResult
from ctonnx.server.pacs.results.key_objects import key_objects

KINDS: tuple[ObjectKind, ...] = ("sr", "sc", "ko")


def made(result: SeriesResult) -> Any:
    """Returns a small object of a result, as it is read from its file."""
    content = io.BytesIO()
    key_objects(result).save_as(content, enforce_file_format=True)
    content.seek(0)
    return pydicom.dcmread(content)


def uids(result: SeriesResult) -> list[str]:
    return [result.uid(kind) for kind in KINDS]


def test_uids_are_those_of_the_source_the_model_and_the_kind(files: list[str]) -> None:
    scores = (0.1, 0.9, 0.6)
    first = uids(result_of(files, scores))
    assert len(set(first)) == len(KINDS)
    assert uids(result_of(files[::-1], scores)) == first  # the order of the files does not matter
    others = [
        uids(result_of(files, scores, model_of(sha256="cd" * 32))),
        uids(result_of(files[:2], scores[:2])),  # a slice that arrives later makes another result
        uids(result_of(files, scores, model_of(codes=ClassCodes({"tumor": ("99SITE", "T", "Tumor")})))),
    ]
    assert [set(first) & set(other) for other in others] == [set()] * 3


def test_other_bytes_have_another_uid(files: list[str]) -> None:
    scores = (0.1, 0.9, 0.6)
    first = uids(result_of(files, scores))
    change(files[1], PatientName="Other^Name")
    assert not set(first) & set(uids(result_of(files, scores)))


def test_another_file_meta_information_has_the_same_uids(files: list[str]) -> None:
    scores = (0.1, 0.9, 0.6)
    first = uids(result_of(files, scores))
    data = pydicom.dcmread(files[1])
    data.file_meta.ImplementationVersionName = "ANOTHER"
    data.save_as(files[1])
    assert uids(result_of(files, scores)) == first


def test_series_of_the_objects_does_not_depend_on_the_instances(files: list[str]) -> None:
    whole, part = (made(result_of(files[:count], (0.6, 0.9, 0.1)[:count])) for count in (3, 2))
    assert whole.SeriesInstanceUID == part.SeriesInstanceUID != files
    assert whole.SOPInstanceUID != part.SOPInstanceUID


@pytest.mark.parametrize(("kind", "title"), [("sr", "report"), ("sc", "heatmap"), ("ko", "key images")])
@pytest.mark.parametrize("name", ["lungs", "l" * 100])
def test_description_of_the_series_states_that_it_is_research(
    files: list[str], kind: ObjectKind, title: str, name: str
) -> None:
    model = model_of()
    result = result_of(files, (0.1, 0.9, 0.6), replace(model, spec=replace(model.spec, name=name)))
    description = result.settings(kind)["series_description"]
    assert description == f"ctonnx {title} (research): {name}"[:64]


def test_patient_and_study_are_copied(files: list[str]) -> None:
    for file in files:
        change(
            file,
            SpecificCharacterSet="ISO_IR 100",
            PatientName="Müller^Jörg",
            PatientSex="M",
            IssuerOfPatientID="SITE",
            AccessionNumber="A77",
            StudyDescription="CT Thorax nativ",
            ReferringPhysicianName="Referrer",
            PatientAge="055Y",
            InstitutionName="Hospital",
            TimezoneOffsetFromUTC="+0100",
        )
    found = made(result_of(files, (0.1, 0.9, 0.6)))
    source = pydicom.dcmread(files[0])
    for keyword in (
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "IssuerOfPatientID", "PatientAge"),
        *("StudyInstanceUID", "StudyDate", "StudyDescription", "AccessionNumber", "ReferringPhysicianName"),
        "TimezoneOffsetFromUTC",
    ):
        assert found[keyword].value == source[keyword].value, keyword
    assert str(found.PatientName) == "Müller^Jörg"
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert (found.StudyTime, found.StudyID) == ("", "")  # missing, and not invented
    assert "InstitutionName" not in found


def test_text_of_any_character_set_is_kept_in_sequences_too(files: list[str]) -> None:
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "P1", "99SITE", "胸部"
    for file in files:
        change(file, SpecificCharacterSet="ISO_IR 192", PatientName="山田^太郎", ProcedureCodeSequence=[code])
        data = pydicom.dcmread(file)
        list(data.iterall())  # decodes all text
        data.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        data.save_as(file)
        assert "山田".encode() not in Path(file).read_bytes()
    found = made(result_of(files, (0.1, 0.9, 0.6)))
    assert str(found.PatientName) == "山田^太郎"
    assert found.ProcedureCodeSequence[0].CodeMeaning == "胸部"


def test_date_is_that_of_the_source_and_no_time_of_its_making_is_in_it(positive: SeriesResult) -> None:
    found = made(positive)
    assert (found.ContentDate, found.ContentTime) == ("20260102", "000000")
    assert (found.SeriesDate, found.SeriesTime) == ("20260102", "000000")  # of the study; the series has none
    assert not [element.keyword for element in found.iterall() if element.keyword.startswith("InstanceCreation")]
    assert not [element for element in found.iterall() if element.keyword == "ContributionDateTime"]


def test_date_of_the_series_of_results_is_that_of_the_source_also_with_a_later_instance(files: list[str]) -> None:
    for file in files:
        change(file, SeriesDate="20251231", SeriesTime="235950")
    change(files[2], ContentDate="20260109", ContentTime="111111")
    found = made(result_of(files, (0.1, 0.9, 0.6)))
    assert (found.SeriesDate, found.SeriesTime) == ("20251231", "235950")
    assert (found.ContentDate, found.ContentTime) == ("20260109", "111111")
    for file in files:
        change(file, SeriesDate=None, SeriesTime=None, StudyDate="")
    assert "SeriesDate" not in made(result_of(files, (0.1, 0.9, 0.6)))


def test_object_of_a_source_without_any_date_has_the_present_one(files: list[str]) -> None:
    for file in files:
        change(file, StudyDate=None, ContentDate=None)
    found = made(result_of(files, (0.1, 0.9, 0.6)))
    assert len(found.ContentDate) == 8
    assert found.StudyDate == ""


def test_equipment_is_the_model_and_what_contributed(files: list[str]) -> None:
    change(files[0], Manufacturer="Scanner Ltd", ManufacturerModelName="S1", SeriesNumber=7)
    found = made(result_of(files, (0.1, 0.9, 0.6)))
    assert (found.Manufacturer, found.ManufacturerModelName) == ("ctonnx", "lungs")
    assert found.DeviceSerialNumber == "ab" * 32
    assert found.SoftwareVersions.startswith("ctonnx ")
    assert found.SeriesNumber == 90_073
    purposes = [
        (one.Manufacturer, one.PurposeOfReferenceCodeSequence[0].CodeMeaning)
        for one in found.ContributingEquipmentSequence
    ]
    assert purposes == [
        ("Scanner Ltd", "Acquisition Equipment"),
        ("ctonnx", "Processing Equipment"),
        ("Highdicom open-source contributors", "Processing Equipment"),
    ]


def test_scanner_without_a_manufacturer_is_left_out(positive: SeriesResult) -> None:
    assert [one.Manufacturer for one in made(positive).ContributingEquipmentSequence] == [
        "ctonnx",
        "Highdicom open-source contributors",
    ]


@pytest.mark.parametrize(
    ("aggregate", "k", "text"),
    [
        ("max", None, "score_series=the most suspicious slice"),
        ("mean", None, "score_series=the mean of all slices"),
        ("top-k", 2, "score_series=the mean of the 2 most suspicious slices"),
    ],
)
def test_algorithm_has_the_hash_and_the_operating_points(aggregate: Any, k: int | None, text: str) -> None:
    values = [item.value for item in model_of(with_rule(aggregate, k, 0.25)).algorithm()]
    assert values[0] == "lungs"
    assert {f"model_sha256={'ab' * 32}", "operating_point_series=0.250000", "operating_point_image=0.500000"} < set(
        values
    )
    assert text in values


def test_name_of_a_model_is_cut_to_what_an_element_may_have() -> None:
    model = model_of()
    long = replace(model, spec=replace(model.spec, name="ct\\" + "x" * 80))
    assert long.name == "ct/" + "x" * 61
