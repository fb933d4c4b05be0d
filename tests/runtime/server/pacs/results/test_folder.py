"""Objects of series in a folder: kinds, names, failures and privacy."""

import errno
import logging
from pathlib import Path
from typing import Any

import pydicom
import pytest
from tests.runtime.prediction.dicom_slices import IDENTIFIERS
from tests.runtime.server.pacs.results.made_results import change, model_of, predicted_series, write_series

from ctonnx.prediction.results import Failure
from ctonnx.prediction.series.reduction import GroupFailure
from ctonnx.server.pacs.results import folder as module
from ctonnx.server.pacs.results.document import ObjectKind
from ctonnx.server.pacs.results.folder import ResultFolder

REPORTS: tuple[ObjectKind, ...] = ("sr",)


def written(
    files: list[str], scores: tuple[float, ...], folder: Path, kinds: tuple[ObjectKind, ...] = ("sr", "sc")
) -> ResultFolder:
    folder.mkdir(exist_ok=True)
    results = ResultFolder(folder, model_of(), kinds)
    group, record, found = predicted_series(files, scores)
    for one in found:
        results.add(one)
    results.finish(group, record)
    return results


def modalities(folder: Path) -> list[str]:
    return sorted(pydicom.dcmread(file).Modality for file in folder.iterdir())


def test_positive_series_has_key_images_too(files: list[str], tmp_path: Path) -> None:
    results = written(files, (0.1, 0.9, 0.6), tmp_path / "out")
    assert modalities(tmp_path / "out") == ["KO", "OT", "SR"]
    assert (results.written, results.series, results.failures) == ({"sr": 1, "sc": 1, "ko": 1}, 1, [])


def test_negative_series_has_none(files: list[str], tmp_path: Path) -> None:
    written(files, (0.1, 0.2, 0.3), tmp_path / "out")
    assert modalities(tmp_path / "out") == ["OT", "SR"]


@pytest.mark.parametrize(
    ("kinds", "expected"), [(("sr",), ["KO", "SR"]), (("sc",), ["KO", "OT"]), ((), [])], ids=["sr", "sc", "none"]
)
def test_kinds_are_chosen(files: list[str], tmp_path: Path, kinds: Any, expected: list[str]) -> None:
    results = written(files, (0.1, 0.9, 0.6), tmp_path / "out", kinds)
    assert modalities(tmp_path / "out") == expected
    assert sum(results.written.values()) == len(expected)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ImagePositionPatient": [0, 0, 5]},
        {"ImagePositionPatient": [0, 0, 5], "InstanceNumber": None},
        {"ImagePositionPatient": None, "ImageOrientationPatient": None, "InstanceNumber": None},
    ],
    ids=["all known", "one position", "one position and no number", "nothing known"],
)
def test_objects_do_not_depend_on_the_names_of_the_files(
    files: list[str], tmp_path: Path, changes: dict[str, Any]
) -> None:
    scores = {}
    for file, score in zip(files, (0.1, 0.9, 0.6), strict=True):
        data = pydicom.dcmread(file)
        change(file, StationName=f"CT{data.InstanceNumber}", **changes)
        scores[data.SOPInstanceUID] = score
    made = []
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        folder = tmp_path / "-".join(map(str, order))
        folder.mkdir()
        renamed = [folder / f"{number}.dcm" for number in range(3)]
        for number, file in zip(order, files, strict=True):
            renamed[number].write_bytes(Path(file).read_bytes())
        found = [pydicom.dcmread(file) for file in renamed]
        found.sort(key=lambda one: ((one.get("ImagePositionPatient") or (0, 0, 0))[2], one.get("InstanceNumber") or 0))
        by_place = tuple(scores[one.SOPInstanceUID] for one in found)
        written([str(file) for file in renamed], by_place, folder / "out")
        made.append({file.name: file.read_bytes() for file in (folder / "out").iterdir()})
    assert len(made[0]) == 3
    for name, content in made[0].items():
        assert [one[name] == content for one in made] == [True] * 3


def test_file_is_named_by_its_uid_and_the_same_in_another_run(files: list[str], tmp_path: Path) -> None:
    for name in ("first", "second"):
        written(files, (0.1, 0.9, 0.6), tmp_path / name)
    first, second = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("first", "second")
    )
    assert first == second
    assert all(name == f"{pydicom.dcmread(tmp_path / 'first' / name).SOPInstanceUID}.dcm" for name in first)


def test_series_come_one_after_the_other(tmp_path: Path) -> None:
    results = ResultFolder(tmp_path, model_of(), REPORTS)
    for series in (1, 2):
        names = write_series(tmp_path / "in", 2 + series, series=series)
        group, record, found = predicted_series(names, [0.1] * len(names))
        for one in found:
            results.add(one)
        results.finish(group, record)
    groups = [len(pydicom.dcmread(file).ContentSequence[-1].ContentSequence) for file in sorted(tmp_path.glob("*.dcm"))]
    assert sorted(groups) == [4, 5]


def test_unreadable_image_is_referenced_without_an_evaluation(files: list[str], tmp_path: Path) -> None:
    group, record, found = predicted_series(files[:2], (0.1, 0.2))
    whole, _, _ = predicted_series(files, (0.1, 0.2, 0.3))
    results = ResultFolder(tmp_path, model_of(), REPORTS)
    for one in found:
        results.add(one)
    results.add(Failure(files[2], "damaged"))
    results.finish(whole, record)
    (file,) = tmp_path.glob("*.dcm")
    data = pydicom.dcmread(file)
    library, measurements = data.ContentSequence[-2:]
    assert len(library.ContentSequence[0].ContentSequence) == 3
    assert len(measurements.ContentSequence) == 1 + 2
    assert group.name == record.name


def test_series_without_a_prediction_has_no_objects(files: list[str], tmp_path: Path) -> None:
    results = ResultFolder(tmp_path / "out", model_of())
    group, _, _ = predicted_series(files, (0.1, 0.9, 0.6))
    results.add(Failure(files[0], "damaged"))
    results.finish(group, GroupFailure(by="series", name="ab", folders=(), error="damaged"))
    assert (results.written, results.series, results.failures) == ({}, 0, [])


def test_series_with_a_missing_uid_is_a_failure_by_its_pseudonym(files: list[str], tmp_path: Path) -> None:
    change(files[1], StudyInstanceUID=None)
    results = written(files, (0.1, 0.9, 0.6), tmp_path / "out")
    ((name, reason),) = results.failures
    assert len(name) == 16
    assert reason == (
        "expected DICOM files with the UIDs that a result refers to, found 1 file without a valid StudyInstanceUID"
    )
    assert list((tmp_path / "out").iterdir()) == []


def test_incomplete_headers_make_empty_elements(files: list[str], tmp_path: Path) -> None:
    for file in files:
        change(file, StudyDate=None, ContentDate=None, PatientName=None, PatientID="", PatientBirthDate=None)
    results = written(files, (0.1, 0.9, 0.6), tmp_path / "out")
    assert results.failures == []
    for path in (tmp_path / "out").iterdir():
        data = pydicom.dcmread(path)
        for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyID"):
            assert data[name].is_empty, name


def test_odd_values_of_a_patient_are_copied_and_never_logged(
    files: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    odd = {"PatientSex": "unknown-X", "PatientBirthDate": "31.12.1970", "PatientName": "Doe", "StudyDate": "26-1-2"}
    for file in files:
        change(file, **odd)
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        results = written(files, (0.1, 0.9, 0.6), tmp_path / "out")
    assert results.failures == []
    data = pydicom.dcmread(next((tmp_path / "out").iterdir()))
    assert str(data.PatientName) == "Doe"
    captured = capfd.readouterr()
    text = captured.out + captured.err + caplog.text
    assert [word for word in (*IDENTIFIERS, *odd.values()) if word in text] == []


def test_slice_that_cannot_be_drawn_is_a_failure_without_its_file(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("Doe^Jane")

    monkeypatch.setattr(module, "decode_slice", fail)
    results = written(files, (0.1, 0.9, 0.6), tmp_path / "out")
    assert [reason for _, reason in results.failures] == [
        "damaged DICOM file: it has an element that a result cannot have"
    ]
    assert list((tmp_path / "out").iterdir()) == []


def test_full_disk_ends_the_run_and_another_error_does_not(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = errno.EACCES

    def fail(path: Path) -> None:
        raise OSError(number, "no", str(path))

    monkeypatch.setattr(module, "atomic_file", fail)
    assert [reason for _, reason in written(files, (0.1, 0.9, 0.6), tmp_path / "out").failures] == ["no"]
    number = errno.ENOSPC
    with pytest.raises(OSError, match="no"):
        written(files, (0.1, 0.9, 0.6), tmp_path / "out")


def test_copy_of_a_file_is_evaluated_once(files: list[str], tmp_path: Path) -> None:
    copies = write_series(tmp_path / "copies", 1)
    written([*files, *copies], (0.1, 0.9, 0.6), tmp_path / "out", REPORTS)
    (report,) = (data for path in (tmp_path / "out").iterdir() if (data := pydicom.dcmread(path)).Modality == "SR")
    assert len(report.ContentSequence[-1].ContentSequence) == 1 + 3
