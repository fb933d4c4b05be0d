"""A study from a DICOMweb server: Orthanc, and one with faults."""

import json
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.uid import RLELossless
from tests.runtime.server.pacs import orthanc
from tests.runtime.server.pacs.builders import new_uid, write_series
from tests.runtime.server.pacs.dicomweb import FakeServer, serving

from ctonnx.errors import CtonnxError
from ctonnx.prediction.results import Failure
from ctonnx.prediction.series.grouping import group_files
from ctonnx.server.pacs import retrieval
from ctonnx.server.pacs.retrieval import StudyAddress, retrieved_study

MARK = "MARKED"
STUDY = new_uid()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files, which is empty after each test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(retrieval, "_FIRST_WAIT", 1)
    return folder


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeServer]:
    """A server with two CT series, of three and two images, and one MR image in the study."""
    files = write_series(tmp_path / "a", 3, study=STUDY, patient=MARK) + write_series(tmp_path / "b", 2, study=STUDY)
    (other,) = write_series(tmp_path / "c", 1, study=STUDY)
    image = dcmread(other)
    image.Modality = "MR"
    dcmwrite(other, image)
    with serving([*files, other]) as server:
        yield server


def failing(fake: FakeServer, **changes: Any) -> str:
    """Returns the message of the error of a retrieval of all images, which has nothing of the patient."""
    address = StudyAddress(**{"url": fake.url, "study": STUDY, **changes})

    def retrieve() -> None:
        with retrieved_study(address, lambda line: None) as study:
            for file in study.files:
                study.fetch(file)

    with pytest.raises(CtonnxError) as caught:
        retrieve()
    assert caught.value.__cause__ is None
    assert MARK not in str(caught.value)
    return str(caught.value).replace(fake.url, "URL")


def test_images_are_those_of_the_server_and_nothing_is_kept(fake: FakeServer, temporary: Path) -> None:
    lines: list[str] = []
    with retrieved_study(StudyAddress(url=fake.url, study=STUDY), lines.append) as study:
        (folder,) = (one for one in temporary.iterdir() if one.is_dir())
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert list(folder.iterdir()) == []
        assert all(Path(file).is_relative_to(folder) for file in study.files)
        first, second = group_files(study.files, "series", study.read).groups
        assert [one.position for one in first.files] == [2, 4, 6]
        for file in study.files:
            assert study.fetch(file) == file
        fetched = [dcmread(file) for file in study.files]
        assert fetched == [dcmread(file) for file in fake.files[:5]]
        study.release(first)
        assert sorted(one.name for one in folder.rglob("*.dcm")) == [Path(one.file).name for one in second.files]
    assert list(temporary.iterdir()) == []
    assert lines == ["left out: 1 series of other modalities (1 MR)", "retrieving: 5 CT images of 2 series"]


def test_images_that_are_not_fetched_are_not_retrieved(fake: FakeServer) -> None:
    with retrieved_study(StudyAddress(url=fake.url, study=STUDY), lambda line: None) as study:
        study.fetch(study.files[1])
    assert sum("/instances/" in path for path, _ in fake.requests) == 1


def test_one_series_of_a_study(fake: FakeServer) -> None:
    series = str(dcmread(fake.files[3]).SeriesInstanceUID)
    with retrieved_study(StudyAddress(url=fake.url, study=STUDY, series=series), lambda line: None) as study:
        assert len(study.files) == 2


def test_all_pages_are_read(fake: FakeServer) -> None:
    fake.page = 1
    with retrieved_study(StudyAddress(url=fake.url, study=STUDY), lambda line: None) as study:
        assert len(study.files) == 5


def test_a_server_that_ignores_the_offset_ends(fake: FakeServer) -> None:
    fake.answers["/series"] = fake.answer(f"/dicom-web/studies/{STUDY}/series", {})
    with retrieved_study(StudyAddress(url=fake.url, study=STUDY), lambda line: None) as study:
        assert len(study.files) == 5


def test_images_with_the_same_number_have_files_of_their_own(fake: FakeServer) -> None:
    for file in fake.files[:3]:
        image = dcmread(file)
        image.InstanceNumber = None
        dcmwrite(file, image)
    with retrieved_study(StudyAddress(url=fake.url, study=STUDY), lambda line: None) as study:
        assert [Path(file).name for file in study.files[:3]] == ["0.dcm", "0-2.dcm", "0-3.dcm"]


def test_the_token_is_sent_and_not_shown(fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else")
    monkeypatch.setenv("NETRC", str(netrc))
    address = StudyAddress(url=fake.url, study=STUDY, token="secret")  # noqa: S106
    assert "secret" not in repr(address)
    with retrieved_study(address, lambda line: None) as study:
        study.fetch(study.files[0])
    assert {headers.get("Authorization") for _, headers in fake.requests} == {"Bearer secret"}


def test_without_a_token_no_password_of_the_user_is_sent(
    fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else")
    monkeypatch.setenv("NETRC", str(netrc))
    with retrieved_study(StudyAddress(url=fake.url, study=STUDY), lambda line: None):
        pass
    assert {headers.get("Authorization") for _, headers in fake.requests} == {None}


@pytest.mark.parametrize(
    ("end", "answer", "expected"),
    [
        (
            "/series",
            (401, "text/plain", MARK.encode()),
            "expected the series of a study from 'URL', found HTTP status 401; check --token",
        ),
        (
            "/series",
            (403, "text/plain", b""),
            "expected the series of a study from 'URL', found HTTP status 403; check --token and "
            "the rights of its owner",
        ),
        (
            "/series",
            (200, "text/html", MARK.encode()),
            "expected the series of a study from 'URL', found something else; check --dicomweb: Orthanc's URL ends in "
            "/dicom-web",
        ),
        (
            "/series",
            (200, "application/json", b"[]"),
            "expected the study at 'URL', found no series; check --study and --dicomweb",
        ),
        (
            "/series",
            (204, "application/json", b""),
            "expected the study at 'URL', found no series; check --study and --dicomweb",
        ),
        (
            "/metadata",
            (503, "text/plain", b""),
            "expected the metadata of a series from 'URL', found HTTP status 503; try again, or "
            "ask who runs the server",
        ),
        (
            "/metadata",
            (200, "application/json", b"[]"),
            "expected CT images in 2 CT series, found none",
        ),
        (
            "/metadata",
            (200, "application/json", b'[{"00100010": {"vr": "PN", "Value": [{"Alphabetic": "MARKED"}]}}]'),
            "expected a SOPInstanceUID in all metadata from 'URL', found one without it",
        ),
        (
            ".3",
            (401, "text/plain", MARK.encode()),
            "expected an image from 'URL', found HTTP status 401; check --token",
        ),
    ],
)
def test_an_unexpected_answer(fake: FakeServer, end: str, answer: Any, expected: str, temporary: Path) -> None:
    fake.answers[end] = answer
    assert failing(fake) == expected
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((404, "text/plain", MARK.encode()), "HTTP status 404"),
        ((503, "text/plain", MARK.encode()), "HTTP status 503"),
        ((200, "multipart/related; boundary=x", b"--x\r\n\r\nMARKED\r\n--x--\r\n"), "something else"),
    ],
)
def test_an_image_that_is_not_provided_has_its_reason_and_no_file(
    fake: FakeServer, answer: tuple[int, str, bytes], problem: str
) -> None:
    fake.answers[".2"] = answer
    with retrieved_study(StudyAddress(url=fake.url, study=STUDY), lambda line: None) as study:
        there = [file for file in study.files if Path(study.fetch(file)).exists()]
        missing = [file for file in study.files if file not in there]
        assert [Path(file).name for file in missing] == ["2.dcm", "2.dcm"]
        first, second = group_files(study.files, "series", study.read).groups
        assert [one.file for group in (first, second) for one in study.provided(group).files] == there
        failure = Failure(missing[0], "no file")
        assert study.explained(failure) == Failure(missing[0], f"not retrieved: {problem}")
        other = Failure(there[0], "damaged")
        assert study.explained(other) == other
        study.release(first)


def test_images_are_shown_by_their_series_and_number(fake: FakeServer) -> None:
    uids = [str(dcmread(file).SeriesInstanceUID) for file in fake.files[:5]]
    with retrieved_study(StudyAddress(url=fake.url, study=STUDY), lambda line: None) as study:
        names = [study.shown(file) for file in study.files]
        assert names == [f"{uid}/{number}.dcm" for uid, number in zip(uids, (1, 2, 3, 1, 2), strict=True)]
        assert study.shown(f"such as '{study.files[0]}'") == f"such as '{names[0]}'"


@pytest.mark.parametrize("uid", ["../../outside", "/outside", "..", "1" * 65, MARK])
def test_a_series_whose_uid_is_none_is_an_error_and_no_path(fake: FakeServer, uid: str, temporary: Path) -> None:
    series = str(dcmread(fake.files[3]).SeriesInstanceUID)
    fake.answers["/metadata"] = fake.answer(f"/dicom-web/studies/{STUDY}/series/{series}/metadata", {})
    fake.answers["/series"] = (200, "application/dicom+json", json.dumps([_series(uid)]).encode())
    assert failing(fake).startswith("expected the metadata of a series from 'URL', found something else")


def _series(uid: str) -> dict[str, Any]:
    return {"0020000E": {"vr": "UI", "Value": [uid]}, "00080060": {"vr": "CS", "Value": ["CT"]}}


def test_a_server_that_is_not_there(fake: FakeServer) -> None:
    url = f"http://127.0.0.1:{orthanc.free_port()}/dicom-web"
    assert failing(fake, url=url) == (
        f"expected the series of a study from '{url}', found no connection; check --dicomweb and whether "
        "the server runs"
    )


def test_an_unknown_study_and_an_unknown_series(fake: FakeServer) -> None:
    assert failing(fake, study="1.2.3") == (
        "expected the study at 'URL', found no series; check --study and --dicomweb"
    )
    assert failing(fake, series="1.2.3") == "expected the series in its study, found 3 other series; check --series"


def test_a_series_of_another_modality(fake: FakeServer) -> None:
    series = str(dcmread(fake.files[-1]).SeriesInstanceUID)
    assert failing(fake, series=series) == "expected a CT series, found series of other modalities only (1 MR)"


def test_a_modality_that_is_none_is_not_shown(fake: FakeServer) -> None:
    for file in fake.files:
        image = dcmread(file)
        image.Modality = MARK
        dcmwrite(file, image)
    assert failing(fake) == "expected a CT series, found series of other modalities only (3 unknown)"


def test_the_folder_of_a_killed_process_is_removed(fake: FakeServer, temporary: Path) -> None:
    name = ".ctonnx-study.00000000-000000000000"
    (temporary / f"{name}.part").mkdir()
    (temporary / f"{name}.part" / "1.dcm").write_bytes(b"")
    (temporary / f"{name}.lock").touch()
    lines: list[str] = []
    with retrieved_study(StudyAddress(url=fake.url, study=STUDY), lines.append):
        pass
    assert "removed 1 temporary file or folder" in lines[0]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "pacs:8042"}, "expected a URL such as"),
        ({"url": "ftp://pacs/dicom-web"}, "expected a URL such as"),
        ({"url": "http://name:secret@pacs/dicom-web"}, "without a name and password"),
        ({"study": "Doe^Jane"}, "expected a study as a UID"),
        ({"study": "1.2/../3"}, "expected a study as a UID"),
        ({"series": "1" * 65}, "expected a series as a UID"),
        ({"token": ""}, "expected a bearer token of one line"),
        ({"token": "a\r\nX: b"}, "expected a bearer token of one line"),
    ],
)
def test_a_wrong_address(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        StudyAddress(**{"url": "http://pacs", "study": "1.2", **changes})
    assert not any(word in str(caught.value) for word in ("secret", "Doe"))


@pytest.mark.skipif(orthanc.missing_parts() is not None, reason=str(orthanc.missing_parts()))
def test_orthanc_gives_the_images_as_they_are_stored(tmp_path: Path) -> None:
    files = write_series(tmp_path / "series", 4, study=STUDY)
    compressed = dcmread(files[2])
    compressed.compress(RLELossless)
    compressed.SOPInstanceUID = compressed.file_meta.MediaStorageSOPInstanceUID = dcmread(files[2]).SOPInstanceUID
    dcmwrite(files[2], compressed)
    with orthanc.running(tmp_path / "pacs") as pacs:
        for file in files:
            pacs.post("/instances", file.read_bytes())
        with retrieved_study(StudyAddress(url=pacs.dicomweb, study=STUDY), lambda line: None) as study:
            found = {dcmread(study.fetch(file)).SOPInstanceUID: dcmread(file) for file in study.files}
            assert found == {dcmread(file).SOPInstanceUID: dcmread(file) for file in files}
            assert sum(one.file_meta.TransferSyntaxUID == RLELossless for one in found.values()) == 1
