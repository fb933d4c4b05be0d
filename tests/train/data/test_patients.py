"""Patients of a dataset's images."""

from ctonnx_train.data.patients import Patients, source_in_words
from ctonnx_train.data.splits import Sample


def test_an_image_without_a_patient_stands_for_itself() -> None:
    patients = Patients(origin="labels file", names={"a.png": "p1", "b.png": "p1", "c.png": ""})
    samples = [Sample(path, 0) for path in ("a.png", "b.png", "c.png", "d.png")]
    assert patients.of(samples) == ["p1", "p1", "image c.png", "image d.png"]


def test_sources_are_shown_in_words() -> None:
    assert source_in_words("labels file") == "the labels file"
    assert source_in_words("DICOM headers") == "DICOM headers"
