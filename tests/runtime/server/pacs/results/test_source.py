"""UIDs, patient and study from headers, complete or not."""

from pathlib import Path

import pydicom
import pytest
from tests.runtime.prediction.dicom_slices import IDENTIFIERS
from tests.runtime.server.pacs.results.made_results import change

from ctonnx.errors import CtonnxError
from ctonnx.server.pacs.results import source
from ctonnx.server.pacs.results.source import content_of, read_source


def test_series_has_the_uids_of_its_images(files: list[str]) -> None:
    found = read_source(files)
    assert (found.study, found.series) == ("1.2.826.77.65.1", "1.2.826.77.65.1.1")
    assert found.instances == [f"1.2.826.77.65.1.1.{number}" for number in (1, 2, 3)]
    assert found.image_of(files[1], None).number == 2
    assert found.image_of(f"{files[2]}#3", 2).sop_instance == "1.2.826.77.65.1.1.3"
    assert found.header.PatientID == "PID-4711A"
    assert "PixelData" not in found.header


def test_moment_is_the_latest_in_any_header(files: list[str]) -> None:
    assert read_source(files).moment == ("20260102", "000000")
    change(files[1], AcquisitionDate="20260103", AcquisitionTime="101112.5")
    change(files[2], SeriesDate="20261399", SeriesTime="235959")  # no date
    assert read_source(files).moment == ("20260103", "101112.5")
    for file in files:
        change(file, StudyDate="", ContentDate=None)
    change(files[1], AcquisitionDate="")
    assert read_source(files).moment is None


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_missing_uid_is_named_without_the_patient(files: list[str], keyword: str) -> None:
    change(files[0], **{keyword: None})
    change(files[2], **{keyword: "1.2." + "3" * 70})
    with pytest.raises(CtonnxError) as error:
        read_source(files)
    assert str(error.value) == (
        f"expected DICOM files with the UIDs that a result refers to, found 2 files without a valid {keyword}"
    )


@pytest.mark.parametrize("number", [0, 1])
def test_uid_of_an_instance_may_be_in_the_meta_information_alone(files: list[str], number: int) -> None:
    change(files[number], SOPInstanceUID=None, SOPClassUID="")
    found = read_source(files).images[files[number]]
    assert found.sop_instance == f"1.2.826.77.65.1.1.{number + 1}"
    assert found.sop_class == "1.2.840.10008.5.1.4.1.1.2"


def test_headers_read_without_pydicom_have_the_same_values(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    change(files[1], AcquisitionDate="20260103", AcquisitionTime="101112.5", InstanceNumber=None)
    change(files[2], AcquisitionDate=["20260105", "20260106"], AcquisitionTime="x")
    plain = read_source(files)
    monkeypatch.setattr(source, "read_plain_values", lambda opened, keywords: None)
    slow = read_source(files)
    assert (plain.images, plain.moment) == (slow.images, slow.moment)


def test_files_that_cannot_be_read_are_counted_without_their_names(files: list[str]) -> None:
    Path(files[0]).write_bytes(b"")
    Path(files[1]).unlink()
    with pytest.raises(CtonnxError) as error:
        read_source(files)
    message = str(error.value)
    assert "1 file that cannot be read (the file is empty (0 bytes))" in message
    assert not [word for word in (*IDENTIFIERS, *files) if word in message]


def test_files_of_two_studies_are_an_error(files: list[str]) -> None:
    change(files[1], StudyInstanceUID="1.2.3")
    with pytest.raises(CtonnxError, match=r"^expected files of one study, found 2 studies$"):
        read_source(files)


def test_result_of_ctonnx_is_no_source(files: list[str]) -> None:
    change(files[0], Manufacturer="ctonnx")
    with pytest.raises(CtonnxError, match=r"^expected a series of a scanner, found a result of ctonnx$"):
        read_source(files)


def test_damaged_elements_are_left_out(files: list[str]) -> None:
    data = Path(files[0]).read_bytes()
    Path(files[0]).write_bytes(data.replace(b"SH\x08\x00B30f", b"XX\x08\x00B30f"))
    assert read_source(files).header.PatientID == "PID-4711A"


def test_slices_of_an_anonymization_that_share_their_uid_are_an_error(files: list[str]) -> None:
    for file in files[1:]:
        change(file, SOPInstanceUID="1.2.3")
    with pytest.raises(CtonnxError, match=r"found 2 files that share their SOPInstanceUID$"):
        read_source(files)


def test_content_is_that_of_the_datasets_however_they_came(files: list[str]) -> None:
    first = content_of(files)
    assert content_of(files[::-1]) == first
    for number, file in enumerate(files):
        data = pydicom.dcmread(file)
        data.preamble = bytes([number]) * 128
        data.file_meta.ImplementationVersionName = "ANOTHER"
        data.file_meta.SourceApplicationEntityTitle = "NODE"
        data.save_as(file)
    assert content_of(files) == first
    whole = Path(files[0]).read_bytes()
    Path(files[0]).write_bytes(whole[144 + int.from_bytes(whole[140:144], "little") :])  # the dataset alone
    assert content_of(files) == first


@pytest.mark.parametrize("elements", [{"PatientName": "Other^Name"}, {"PixelData": bytes(2 * 48 * 64)}])
def test_another_element_is_another_content(files: list[str], elements: dict[str, object]) -> None:
    first = content_of(files)
    change(files[1], **elements)
    assert content_of(files) != first
