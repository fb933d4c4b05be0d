"""Patients of a dataset's images, their studies and series, and subgroups such as sex and scanner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ctonnx_train.data.splits import Sample

__all__ = ["PatientOrigin", "Patients"]

PatientOrigin: TypeAlias = Literal["labels file", "--group-regex", "DICOM headers"]


@dataclass(frozen=True, kw_only=True)
class Patients:
    """Patients of the images of a dataset.

    Identifiers of a labels file and of DICOM headers are pseudonyms of
    `ctonnx.prediction.series.pseudonyms.Pseudonyms`; the names of `--group-regex` are parts of the images' paths.

    Attributes:
        origin: Source of the patients.
        names: Patient of each image, by path; an image without one stands for itself.
        studies: Study of each image, by path, as far as it is known.
        series: Series of each image, by path, as far as it is known.
        subgroups: Value of each image, by path, of subgroups such as `sex`, by their names.
    """

    origin: PatientOrigin
    names: Mapping[str, str]
    studies: Mapping[str, str] = field(default_factory=dict)
    series: Mapping[str, str] = field(default_factory=dict)
    subgroups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def of(self, samples: Sequence[Sample]) -> list[str]:
        """Returns the patient of each sample; the path of an image whose patient is unknown."""
        return [self.names.get(sample.path) or f"image {sample.path}" for sample in samples]
