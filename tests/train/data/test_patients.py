"""Patients of a dataset's images."""

from ctonnx_train.data.patients import Patients
from ctonnx_train.data.splits import Sample


def test_an_image_without_a_patient_stands_for_itself() -> None:
    patients = Patients(origin="labels file", names={"a.png": "p1", "b.png": "p1", "c.png": ""})
    samples = [Sample(path, 0) for path in ("a.png", "b.png", "c.png", "d.png")]
    assert patients.of(samples) == ["p1", "p1", "image c.png", "image d.png"]
