"""The slices that patients are evaluated on are those that prediction takes, each once; the others are counted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctonnx.prediction.series.grouping import group_files
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.prediction.series.slices import SliceRecord, slice_reader
from ctonnx_train.data.patients import Patients
from ctonnx_train.data.splits import Sample
from ctonnx_train.evaluation.patients.slices import ChosenSlices, choose_slices, left_out_in_words


def patients_of(records: Sequence[SliceRecord], *, with_headers: bool = True) -> Patients:
    return Patients(
        origin="labels file",
        names={one.file: one.patient for one in records},
        studies={one.file: one.study for one in records if one.study},
        series={one.file: one.series for one in records if one.series},
        slices={one.file: one for one in records} if with_headers else {},
    )


def series(name: str, count: int, *, study: str = "1", patient: str = "A", **more: Any) -> list[SliceRecord]:
    known = {"plane": "axial", "modality": "CT", **more}
    return [SliceRecord(f"{patient}/{name}/{row}", patient, study, name, **known) for row in range(count)]


def chosen(records: Sequence[SliceRecord], labels: Sequence[int] | None = None, **options: Any) -> ChosenSlices:
    samples = [Sample(one.file, label) for one, label in zip(records, labels or [0] * len(records), strict=True)]
    digests = options.pop("digests", None)
    return choose_slices(patients_of(records, **options), samples, digests)


def used(records: Sequence[SliceRecord], found: ChosenSlices) -> set[str]:
    return {one.series for one, is_used in zip(records, found.used, strict=True) if is_used}


def test_one_axial_series_of_each_patient_is_used_and_the_others_are_counted() -> None:
    records = [
        *series("soft", 3),
        *series("lung", 5),
        *series("coronal", 9, plane="coronal"),
        *series("scout", 1, is_localizer=True),
        *series("only", 2, patient="B"),
    ]
    found = chosen(records)
    assert used(records, found) == {"lung", "only"}
    assert found.as_dict() == {
        "slices": {"coronal": 9, "localizer": 1, "of another series": 3},
        "series": 3,
        "patients": 0,
    }
    assert left_out_in_words(found.as_dict()) == (
        "one series of each patient is used: left out 13 slices (9 coronal, 1 localizer, 3 of another series), 3 whole "
        "series"
    )


def test_where_nothing_is_left_out_there_is_no_sentence() -> None:
    found = chosen(series("a", 3))
    assert found.used.all()
    assert (found.as_dict(), left_out_in_words(None)) == (None, "")


def test_without_headers_the_series_with_most_slices_is_used_of_equal_ones_the_first() -> None:
    records = [*series("1", 3), *series("2", 4), *series("1", 2, patient="B"), *series("2", 2, patient="B")]
    found = chosen(records, with_headers=False)
    assert found.used.tolist() == [False] * 3 + [True] * 4 + [True] * 2 + [False] * 2
    assert found.left_out == {"of another series": 5}


def test_the_number_of_a_series_counts_in_its_own_study() -> None:
    records = [*series("1", 3, study="a"), *series("1", 4, study="b")]
    records = [one._replace(file=f"{one.study}/{one.file}") for one in records]
    found = chosen(records, with_headers=False)
    assert found.used.tolist() == [False] * 3 + [True] * 4
    assert found.left_out == {"of another study": 3}
    assert found.has_other_study.tolist() == found.used.tolist()
    assert found.of_study.tolist() == found.used.tolist()


def test_without_a_study_and_a_series_all_slices_are_used_whatever_their_folders() -> None:
    records = [SliceRecord(f"{'ab'[row % 2]}/{row}.png", "A") for row in range(4)]
    assert chosen(records, [0, 1, 0, 1]).used.all()


def test_the_class_of_a_patient_is_that_of_all_series_of_the_study() -> None:
    records = [*series("lung", 4), *series("soft", 2), *series("old", 3, study="0")]
    assert chosen(records).of_study.tolist() == [True] * 6 + [False] * 3


def test_a_slice_that_was_exported_twice_counts_once() -> None:
    first = [one._replace(instance=row, image=f"u{row}") for row, one in enumerate(series("a", 3))]
    again = [one._replace(file=f"copy/{one.file}") for one in first[:2]]
    digests = {one.file: one.file for one in (*first, *again)}  # other pixels, as of another compression
    found = chosen([*again, *first], digests=digests)
    assert found.used.sum() == 3
    assert found.left_out == {"exported twice": 2}
    assert left_out_in_words(found.as_dict()).endswith("left out 2 slices (2 exported twice)")


def test_without_headers_identical_pixels_are_one_slice_unless_their_classes_differ() -> None:
    records = [SliceRecord(f"{row}.png", patient) for row, patient in enumerate("AAAAB")]
    digests = dict(zip([one.file for one in records], "xxxyx", strict=True))
    found = chosen(records, [0, 0, 1, 0, 0], digests=digests)
    assert found.used.tolist() == [True, False, True, True, True]
    assert found.left_out == {"exported twice": 1}


def test_a_patient_without_an_axial_series_is_left_out_unless_all_are() -> None:
    coronal = series("c", 2, plane="coronal", patient="B")
    found = chosen([*series("a", 3), *coronal])
    assert found.used.tolist() == [True] * 3 + [False] * 2
    assert (found.patients, found.left_out) == (1, {"coronal": 2})
    assert left_out_in_words(found.as_dict()).endswith(", 1 whole series, 1 patient without an axial CT series")
    alone = chosen(coronal)
    assert alone.used.all()
    assert alone.of_study.all()
    assert alone.as_dict() is None


@pytest.mark.parametrize("order", [1, -1])
def test_the_files_of_a_hospital_are_those_of_predict_by_patient(tmp_path: Path, order: int) -> None:
    pytest.importorskip("pydicom", reason="pydicom is not installed")
    from tests.runtime.prediction.dicom_slices import CORONAL, write_slice

    black, names = np.zeros((8, 8)), Pseudonyms(bytes(32))
    for patient in "ABC":
        for number, (count, thickness) in enumerate([(3, 5.0), (4, 2.0), (4, 1.0), (4, 1.0)], start=1):
            for place in range(count):
                for copy in range(1 + (number == 1)):  # the first series was exported three slices twice
                    file = tmp_path / patient / f"SE{number}" / f"{place}-{copy}.dcm"
                    write_slice(
                        *(file, black), patient=patient, series=number, z=place, instance=place + 1, thickness=thickness
                    )
        write_slice(tmp_path / patient / "scout.dcm", black, patient=patient, series=9, localizer=True, instance=1)
        write_slice(tmp_path / patient / "c.dcm", black, patient=patient, series=8, orientation=CORONAL, instance=1)
    files = sorted(map(str, tmp_path.rglob("*.dcm")))
    read = slice_reader(names, needs_dicom=True)
    predicted = {one.file for group in group_files(files, "patient", read).groups for one in group.files}
    records = [read(file) for file in files[::order]]
    found = chosen(records)
    assert {one.file for one, is_used in zip(records, found.used, strict=True) if is_used} == predicted
    assert len(predicted) == 12
    assert found.left_out == {"coronal": 3, "exported twice": 9, "localizer": 3, "of another series": 33}
