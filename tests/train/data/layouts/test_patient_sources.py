"""Patients come from the labels file, the paths or the DICOM headers, and what was used is logged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.train.conftest import ImagesIn

from ctonnx.errors import DataError
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx_train.data.dataset import Dataset
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.layouts.patient_sources import find_patients, read_headers
from ctonnx_train.data.patients import Patients
from ctonnx_train.data.splits import Sample

NAMES = Pseudonyms(bytes(32))


def found(data: Dataset, group_regex: str | None = None) -> tuple[Patients | None, list[str]]:
    lines: list[str] = []
    return find_patients(data, data.samples, group_regex, lines.append), lines


def labelled(root: Path, text: str) -> Dataset:
    (root / "labels.csv").write_text(text, encoding="utf-8")
    return read_data(root, labels=root / "labels.csv", pseudonyms=NAMES)


def write_slices(root: Path, **elements: list[Any]) -> list[Sample]:
    """Writes a DICOM file for each value of the elements; all have the same number of values."""
    pytest.importorskip("pydicom", reason="pydicom is not installed")
    from tests.runtime.images.dicom.dicom_files import encoded, make

    count = len(next(iter(elements.values())))
    samples = [Sample(f"{'ab'[row % 2]}/IM{row}", row % 2) for row in range(count)]
    for row, sample in enumerate(samples):
        (root / sample.path).parent.mkdir(exist_ok=True)
        own = {keyword: values[row] for keyword, values in elements.items()}
        (root / sample.path).write_bytes(encoded(make(np.full((8, 8), row, np.int16), **own)))
    return samples


def test_patients_of_a_labels_file_are_used(images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path, {"x": 3})
    data = labelled(tmp_path, "path,label,patient,sex\nx/scan 0.png,a,7,F\nx/scan 1.png,b,7,M\nx/scan 2.png,b,8,M\n")
    patients, lines = found(data)
    assert patients is not None
    assert patients.names == {
        **dict.fromkeys(("x/scan 0.png", "x/scan 1.png"), NAMES.of("patient", "7")),
        "x/scan 2.png": NAMES.of("patient", "8"),
    }
    assert lines == ["patients: 2 from the labels file (of 3 images); subgroups: sex"]
    with pytest.raises(DataError, match=r"found the column 'patient' in '.*labels.csv' and --group-regex; leave out"):
        found(data, "scan")


def test_a_labels_file_without_patients_leaves_them_to_the_paths(images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path, {"x": 3})
    data = labelled(tmp_path, "path,label,sex\nx/scan 0.png,a,F\nx/scan 1.png,b,M\nx/scan 2.png,b,M\n")
    assert found(data) == (None, [])
    patients, lines = found(data, r"scan (\d)")
    assert patients is not None
    assert (patients.origin, sorted(patients.names.values())) == ("--group-regex", ["0", "1", "2"])
    assert lines == ["patients: 3 from --group-regex (of 3 images); subgroups: sex"]


@pytest.mark.parametrize("source", ["headers", "paths", "labels"])
def test_the_headers_place_each_slice_in_its_series(tmp_path: Path, source: str) -> None:
    samples = write_slices(
        tmp_path,
        PatientID=["MRN1", "MRN2"],
        StudyInstanceUID=["1.1", "1.2"],
        SeriesInstanceUID=["1.1.1", "1.2.1"],
        SliceThickness=[1.0, 5.0],
        ConvolutionKernel=["B60f", "B30f"],
        InstanceNumber=[4, 5],
        ImageOrientationPatient=[[1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1]],
        ImagePositionPatient=[[0, 0, 7], [0, 7, 0]],
    )
    if source == "labels":
        rows = "".join(f"{sample.path},{'ab'[sample.label]},P{sample.label},3\n" for sample in samples)
        data = labelled(tmp_path, f"path,label,patient,series\n{rows}")
    else:
        data = read_data(tmp_path, pseudonyms=NAMES)
    patients, _ = found(data, r"IM(\d)" if source == "paths" else None)
    assert patients is not None
    one, other = (patients.slice_of(sample.path) for sample in samples)
    series = NAMES.of("series", "3") if source == "labels" else NAMES.of("series", "1.1.1")
    assert (one.file, one.study, one.series) == (samples[0].path, NAMES.of("study", "1.1"), series)
    assert (one.plane, one.position, one.instance, one.kernel, one.thickness) == ("axial", 7.0, 4, "B60f", 1.0)
    assert other.plane == "coronal"
    assert one.image == NAMES.of("image", "1.2.3")


def test_headers_place_the_slices_of_patients_whose_study_and_series_are_not_in_the_file(tmp_path: Path) -> None:
    samples = write_slices(
        tmp_path,
        PatientID=["MRN1", "MRN1", "MRN2"],
        StudyInstanceUID=["1.1", "1.1", "1.2"],
        SeriesInstanceUID=["1.1.1", "1.1.1", "1.2.1"],
    )
    places = ("P0,7,", "P0,8,9", "P1,,")
    rows = "".join(f"{path},{'ab'[number % 2]},{places[number]}\n" for number, (path, _) in enumerate(samples))
    patients, _ = found(labelled(tmp_path, f"path,label,patient,study,series\n{rows}"))
    assert patients is not None
    assert [(patients.slice_of(path).study, patients.slice_of(path).series) for path, _ in samples] == [
        (NAMES.of("study", "7"), NAMES.of("series", "1.1.1")),
        (NAMES.of("study", "8"), NAMES.of("series", "9")),
        (NAMES.of("study", "1.2"), NAMES.of("series", "1.2.1")),
    ]


def test_patients_of_dicom_headers_are_pseudonyms(tmp_path: Path) -> None:
    samples = write_slices(
        tmp_path,
        PatientID=["MRN1", "MRN1", "MRN2", ""],
        StudyInstanceUID=["1.1", "1.2", "1.3", "1.4"],
        PatientAge=["061Y", "062Y", "071Y", "094Y"],
        Manufacturer=["Siemens", "SIEMENS", "GE", "GE"],
        SliceThickness=[1.0, 1.0, 1.04, 5],
        PatientSex=["F", "F", "F", "F"],
    )
    patients, lines = found(read_data(tmp_path, pseudonyms=NAMES))
    assert patients is not None
    assert patients.origin == "DICOM headers"
    first, second = NAMES.of("patient", "MRN1"), NAMES.of("patient", "MRN2")
    assert [patients.names[path] for path, _ in samples] == [first, first, second, NAMES.of("study", "1.4")]
    assert patients.studies[samples[0].path] == NAMES.of("study", "1.1")
    assert {name: [values[path] for path, _ in samples] for name, values in patients.subgroups.items()} == {
        "age": ["60-69", "60-69", "70-79", "90+"],
        "manufacturer": ["SIEMENS", "SIEMENS", "GE", "GE"],
        "slice thickness": ["1 mm", "1 mm", "1 mm", "5 mm"],
    }
    assert lines == ["patients: 3 from DICOM headers (of 4 images); subgroups: age, manufacturer, slice thickness"]


def test_paths_have_priority_over_headers_whose_subgroups_stay(tmp_path: Path) -> None:
    write_slices(tmp_path, PatientID=["1", "2", "3", "4"], PatientSex=["F", "F", "M", "M"])
    patients, lines = found(read_data(tmp_path), r"IM([01])")
    assert patients is not None
    assert set(patients.names.values()) == {"0", "1"}
    assert lines == ["patients: 2 from --group-regex (of 2 of 4 images); subgroups: sex"]


@pytest.mark.parametrize(
    ("studies", "patients", "end"),
    [
        (["1.1", "1.1", "1.2"], 2, "studies are used as patients"),
        (["1.1", "1.1", "1.1"], 0, "patients are unknown; name them with --labels"),
    ],
)
def test_one_patient_id_in_all_headers_is_no_patient(
    studies: list[str], patients: int, end: str, tmp_path: Path
) -> None:
    samples = write_slices(tmp_path, PatientID=["ANON"] * 3, StudyInstanceUID=studies)
    lines: list[str] = []
    headers = read_headers(tmp_path, samples, NAMES, lines.append)
    assert headers is not None
    assert len(set(headers.names.values())) == patients
    assert lines == [f"note: one Patient ID in all 3 DICOM headers, as after anonymization: {end}"]


def test_files_of_other_formats_are_not_opened(tmp_path: Path) -> None:
    assert read_headers(tmp_path, [Sample("missing/scan.png", 0)], NAMES, pytest.fail) is None
    (tmp_path / "notes").write_text("text", encoding="utf-8")
    assert read_headers(tmp_path, [Sample("notes", 0)], NAMES, pytest.fail) is None
