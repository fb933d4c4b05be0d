"""Patients of a dataset's images, their studies and series, and subgroups such as sex and scanner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ctonnx.prediction.series.slices import SliceRecord
from ctonnx_train.data.splits import Sample

__all__ = ["PatientOrigin", "Patients", "age_band", "source_in_words"]

_OLDEST = 90  # everyone older is in one band: ages above 89 identify people (US 45 CFR 164.514(b)(2)(i)(C))

_NO_SERIES = "unknown"

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
        slices: Header of each DICOM image, by path.
    """

    origin: PatientOrigin
    names: Mapping[str, str]
    studies: Mapping[str, str] = field(default_factory=dict)
    series: Mapping[str, str] = field(default_factory=dict)
    subgroups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    slices: Mapping[str, SliceRecord] = field(default_factory=dict)

    def of(self, samples: Sequence[Sample]) -> list[str]:
        """Returns the patient of each sample; the path of an image whose patient is unknown."""
        return [self.names.get(sample.path) or f"image {sample.path}" for sample in samples]

    def slice_of(self, path: str) -> SliceRecord:
        """Returns all that is known of an image's place in a series, with the study and series of `studies`, `series`.

        Images without a study and a series have one series in common, whatever their folders, which may be classes.
        """
        study, series = self.studies.get(path, ""), self.series.get(path, "")
        known = self.slices.get(path) or SliceRecord(path)
        return known._replace(file=path, study=study, series=series or ("" if study else _NO_SERIES))


def source_in_words(origin: PatientOrigin | None) -> str:
    """Returns a source of patients in words, after `from`."""
    return "the labels file" if origin == "labels file" else str(origin)


def age_band(age: float | str) -> str:
    """Returns the ten years that contain an age in years; empty for what is not an age.

    >>> age_band(63), age_band("7.5"), age_band("063Y"), age_band(94), age_band("unknown")
    ('60-69', '0-9', '60-69', '90+', '')
    """
    try:
        years = float(str(age).strip().upper().removesuffix("Y"))
    except ValueError:
        return ""
    if not 0 <= years <= 150:
        return ""
    ten = int(years // 10) * 10
    return f"{_OLDEST}+" if ten >= _OLDEST else f"{ten}-{ten + 9}"
