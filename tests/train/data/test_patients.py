"""Patients of a dataset's images."""

from ctonnx.prediction.series.slices import SliceRecord
from ctonnx_train.data.patients import Patients, source_in_words
from ctonnx_train.data.splits import Sample


def test_an_image_without_a_patient_stands_for_itself() -> None:
    patients = Patients(origin="labels file", names={"a.png": "p1", "b.png": "p1", "c.png": ""})
    samples = [Sample(path, 0) for path in ("a.png", "b.png", "c.png", "d.png")]
    assert patients.of(samples) == ["p1", "p1", "image c.png", "image d.png"]


def test_sources_are_shown_in_words() -> None:
    assert source_in_words("labels file") == "the labels file"
    assert source_in_words("DICOM headers") == "DICOM headers"


def test_images_without_a_study_and_a_series_have_one_series_in_common() -> None:
    patients = Patients(
        origin="labels file",
        names={},
        studies={"a/1": "st"},
        series={"a/2": "se"},
        slices={"a/3": SliceRecord("/x/a/3", "P")},
    )
    keys = [patients.slice_of(path).series_key for path in ("a/1", "a/2", "a/3", "b/4")]
    assert keys[2] == keys[3]
    assert len(set(keys)) == 3
    assert patients.slice_of("a/3") == SliceRecord("a/3", "P", series="unknown")
