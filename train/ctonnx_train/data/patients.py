"""Patients of a dataset's images, their studies and series, and subgroups such as sex and scanner."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ctonnx.prediction.series.slices import SliceRecord
from ctonnx_train.data.splits import Sample

__all__ = ["PatientOrigin", "Patients", "age_band", "source_in_words", "why_no_subgroup"]

_OLDEST = 90  # everyone older is in one band: ages above 89 identify people (US 45 CFR 164.514(b)(2)(i)(C))

_NO_SERIES = "unknown"

_MOST_VALUES = 20  # of a subgroup; a column with more is a measurement or an identifier
_MOST_NUMBERS = 6  # different numbers of a subgroup; more are a measurement, and would be cut at values of patients
_DATE = re.compile(
    r"\d{1,4}[-./ ]\d{1,2}[-./ ]\d{1,4}|\d{8}|\d[-./ ]*(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
    r"|(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[-./ ]*\d",
    re.IGNORECASE,
)
_IDENTIFYING = re.compile(r"date|birth|name|accession|mrn|(^|[\W_])(u?id|dob|number|time)($|[\W_])")

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


def why_no_subgroup(column: str, values: Collection[str]) -> str | None:
    """Returns the reason why a column of a table cannot be a subgroup, as a predicate; None if it can be.

    Args:
        column: Name of the column in lower case.
        values: Its different values.

    >>> why_no_subgroup("scan id", {"a", "b"}), why_no_subgroup("scanner", {"1950-03-02"}), why_no_subgroup("sex", "FM")
    ('may identify patients', 'has dates', None)
    """
    if _IDENTIFYING.search(column):
        return "may identify patients"
    if any(map(_DATE.search, values)):
        return "has dates"
    if len(values) > _MOST_NUMBERS and all(map(_is_number, values)):
        return f"has {len(values)} different numbers"
    return f"has {len(values)} values" if len(values) > _MOST_VALUES else None


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True
