"""Patient, study, series and position of a DICOM file, read without its pixels.

Identifiers leave this module as pseudonyms only, and dates not at all; nothing that pydicom quotes gets out
(`ctonnx.images.dicom.redaction`). An element that is missing or damaged leaves its field empty.

Sources: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.7.6.2.html (position and orientation);
https://dicom.nema.org/medical/dicom/current/output/chtml/part05/sect_6.2.html (ages and dates)
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from ctonnx.errors import ImageError
from ctonnx.images.dicom.dataset import read_data_set, read_plain_values
from ctonnx.images.dicom.header import text_of
from ctonnx.images.dicom.hounsfield import modality_of
from ctonnx.images.dicom.redaction import redacting
from ctonnx.images.formats import is_dicom
from ctonnx.images.source import open_source

__all__ = ["IDENTITY_ELEMENTS", "MODALITIES", "Identity", "Plane", "identity_of", "read_identity"]

Plane: TypeAlias = Literal["axial", "coronal", "sagittal", "oblique"]

_Value = TypeVar("_Value")

_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
_SHARED = "SharedFunctionalGroupsSequence"
_OF_FRAMES = ("ImageOrientationPatient", "PixelSpacing", "SliceThickness")  # an enhanced image may have them in _SHARED
_PLAIN = (
    *("ImageType", *_DATES, "Modality", "Manufacturer", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("ConvolutionKernel", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber"),
    *("ImagePositionPatient", "NumberOfFrames", *_OF_FRAMES),
)
IDENTITY_ELEMENTS = ("SpecificCharacterSet", *_PLAIN, _SHARED)
"""Keywords of the elements that an identity is read from."""
# Only these leave the module: a damaged file can have any text as its modality.
MODALITIES = frozenset(
    [
        "CR",
        "CT",
        "DX",
        "MG",
        "MR",
        "NM",
        "OT",
        "PT",
        "RF",
        "RTDOSE",
        "RTPLAN",
        "RTSTRUCT",
        "SC",
        "SEG",
        "SR",
        "US",
        "XA",
    ]
)
"""Modalities that may be shown."""
_PLANES: tuple[Plane, ...] = ("sagittal", "coronal", "axial")  # by the axis of the normal: x, y or z
_ALONG = 0.8  # of the normal along an axis; a gantry tilt is up to 30 degrees, whose cosine is 0.87
_AGE = re.compile(r"\s*(\d{1,3})\s*([DWMY])")
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}
_OLDEST = 130
_DATE = re.compile(r"\s*(\d{4})\.?(\d{2})\.?(\d{2})")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Patient, place in a series, and scanner of a DICOM file by its header; empty or None if unknown.

    Attributes:
        patient: Pseudonym of the patient.
        study: Pseudonym of the study.
        series: Pseudonym of the series.
        position: Position of the slice along the normal of its plane, in mm; it increases towards the patient's left,
            back or head, whichever is nearest to the normal.
        instance: Instance Number.
        plane: Plane of the slice; `oblique` if its normal is more than 37 degrees from each axis of the patient.
        is_localizer: Whether the image is a localizer (scout).
        kernel: Reconstruction kernel.
        thickness: Slice thickness in mm.
        manufacturer: Manufacturer of the scanner.
        sex: `M`, `F` or `O`.
        age: Age at the time of the study, in whole years.
        modality: Modality in the standard's spelling; `other` for one that is not of images or radiotherapy.
        frames: Number of frames.
        spacing: Distance of rows and of columns in mm.
        image: Pseudonym of the image, from its SOPInstanceUID: the same in every copy of the file.
    """

    patient: str = ""
    study: str = ""
    series: str = ""
    position: float | None = None
    instance: int | None = None
    plane: Plane | None = None
    is_localizer: bool = False
    kernel: str = ""
    thickness: float | None = None
    manufacturer: str = ""
    sex: str = ""
    age: int | None = None
    modality: str = ""
    frames: int = 1
    spacing: tuple[float, float] | None = None
    image: str = ""


def read_identity(file: Path, pseudonym: Callable[[str, str], str]) -> Identity | None:
    """Reads the identity in a DICOM file's header; the pixels are not read.

    Args:
        file: File of any kind.
        pseudonym: Returns the pseudonym for a kind, `patient`, `study`, `series` or `image`, and an identifier, such as
            `ctonnx.prediction.series.pseudonyms.Pseudonyms.of`.

    Returns:
        The identity, whose fields are empty as far as the header is damaged; None if the file is not DICOM, or cannot
        be opened.
    """
    name = str(file)
    with suppress(ImageError), open_source(file) as (opened, size, _):
        if not is_dicom(opened, name):
            return None
        plain = read_plain_values(opened, _PLAIN)
        if plain is not None and all(plain.get(keyword, "") != "" for keyword in _OF_FRAMES):
            return _identity(plain, pseudonym)
        try:
            header = redacting(
                name, lambda: read_data_set(opened, size, name, only=IDENTITY_ELEMENTS).header, lambda: ""
            )
            return redacting(name, lambda: _identity(header, pseudonym), lambda: "")
        except ImageError:
            return Identity()
    return None


def identity_of(read: Callable[[], Any], pseudonym: Callable[[str, str], str]) -> Identity:
    """Returns the identity in a header that is not a file's, such as the metadata of a DICOMweb server.

    Args:
        read: Returns the header, a `pydicom.Dataset` with the elements of `IDENTITY_ELEMENTS`; it may raise anything.
        pseudonym: Returns the pseudonym for a kind and an identifier, as in `read_identity`.

    Returns:
        The identity; its fields are empty as far as the header is damaged.
    """
    try:
        return redacting("", lambda: _identity(read(), pseudonym), lambda: "")
    except ImageError:
        return Identity()


def _identity(header: Any, pseudonym: Callable[[str, str], str]) -> Identity:
    orientation = _numbers(header, "ImageOrientationPatient", 6, "PlaneOrientationSequence")
    normal = None if orientation is None else _normal(orientation)
    place = _numbers(header, "ImagePositionPatient", 3)
    thickness = _numbers(header, "SliceThickness", 1, "PixelMeasuresSequence")
    spacing = _numbers(header, "PixelSpacing", 2, "PixelMeasuresSequence")
    modality = _read(lambda: modality_of(header)) or ""
    sex = text_of(header, "PatientSex").upper()
    return Identity(
        patient=pseudonym("patient", _identifier(header, "PatientID")),
        study=pseudonym("study", _identifier(header, "StudyInstanceUID")),
        series=pseudonym("series", _identifier(header, "SeriesInstanceUID")),
        position=None if normal is None or place is None else sum(a * b for a, b in zip(normal, place, strict=True)),
        instance=_read(lambda: int(header.get("InstanceNumber"))),
        plane=None if normal is None else _plane(normal),
        is_localizer="LOCALIZER" in text_of(header, "ImageType").upper(),
        kernel=text_of(header, "ConvolutionKernel"),
        thickness=thickness[0] if thickness else None,
        manufacturer=text_of(header, "Manufacturer"),
        sex=sex if sex in ("M", "F", "O") else "",
        age=_age(header),
        modality=modality if modality in MODALITIES or not modality else "other",
        frames=max(1, _read(lambda: int(header.get("NumberOfFrames") or 1)) or 1),
        spacing=(spacing[0], spacing[1]) if spacing else None,
        image=pseudonym("image", _identifier(header, "SOPInstanceUID")),
    )


def _read(read: Callable[[], _Value]) -> _Value | None:
    """Returns a value, or None if the element is missing or damaged; pydicom raises any exception there."""
    with suppress(Exception):
        return read()
    return None


def _identifier(header: Any, keyword: str) -> str:
    """Returns an identifier as text; of one that pydicom cannot decode, its bytes."""
    value = _read(lambda: header.get(keyword))
    if value is None:
        value = _read(lambda: header.get_item(keyword).value.decode("latin-1"))
    terms = [value] if isinstance(value, str) else list(value or ()) if hasattr(value, "__iter__") else []
    return "\\".join(map(str, terms))


def _numbers(header: Any, keyword: str, count: int, group: str = "") -> list[float] | None:
    """Returns the numbers of an element, or of the one that all frames of an enhanced image share."""
    for holder in _holders(header, group):
        value = _read(lambda holder=holder: holder.get(keyword))  # type: ignore[misc]
        found = _read(lambda value=value: [float(one) for one in ([value] if count == 1 else value)])  # type: ignore[misc]
        if found is not None and len(found) == count and all(map(math.isfinite, found)):
            return found
    return None


def _holders(header: Any, group: str) -> Iterator[Any]:
    yield header
    if group and (shared := _read(lambda: header.get(_SHARED)[0].get(group)[0])) is not None:
        yield shared


def _normal(orientation: list[float]) -> tuple[float, float, float] | None:
    """Returns the unit normal of a plane, which points along the axis that is nearest to it; None without a plane."""
    a, b, c, d, e, f = orientation
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    length = math.hypot(*normal)
    if length < 0.5:  # of unit vectors at a right angle it is 1
        return None
    length = math.copysign(length, max(normal, key=abs))
    return normal[0] / length, normal[1] / length, normal[2] / length


def _plane(normal: tuple[float, float, float]) -> Plane:
    along = max(range(3), key=lambda axis: abs(normal[axis]))
    return _PLANES[along] if abs(normal[along]) >= _ALONG else "oblique"


def _age(header: Any) -> int | None:
    """Returns the patient's age in years: Patient's Age, or the time from the birth to the study."""
    if stated := _AGE.match(text_of(header, "PatientAge").upper()):
        years = int(int(stated[1]) / _PER_YEAR[stated[2]])
    else:
        born = _date(header, "PatientBirthDate")
        seen = next(filter(None, (_date(header, keyword) for keyword in _DATES)), None)
        if born is None or seen is None:
            return None
        years = seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))
    return years if 0 <= years <= _OLDEST else None


def _date(header: Any, keyword: str) -> date | None:
    found = _DATE.match(text_of(header, keyword))
    return _read(lambda: date(int(found[1]), int(found[2]), int(found[3]))) if found else None
