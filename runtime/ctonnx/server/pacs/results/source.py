"""UIDs, patient and study of a series, from the headers of its files.

Names and numbers of a patient leave this module only in the header of `SourceSeries`, which is copied into results; no
error has them (`ctonnx.images.dicom.redaction`).
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydicom.dataset import Dataset

from ctonnx.errors import CtonnxError, ImageError
from ctonnx.images.dicom.dataset import offset_of_data_set, read_data_set, read_plain_values
from ctonnx.images.dicom.redaction import redacting
from ctonnx.images.source import open_source
from ctonnx.system.text import counted

__all__ = ["MANUFACTURER", "SourceImage", "SourceSeries", "content_of", "read_source"]

MANUFACTURER = "ctonnx"
"""Manufacturer in the results of this package."""

_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_MOMENTS = tuple((f"{kind}Date", f"{kind}Time") for kind in ("Content", "Acquisition", "Series", "Study"))
_READ = (*_UIDS, *(name for pair in _MOMENTS for name in pair), "InstanceNumber", "SeriesNumber")
_IN_META = {"SOPClassUID": "MediaStorageSOPClassUID", "SOPInstanceUID": "MediaStorageSOPInstanceUID"}
_UID = re.compile(r"\d+(\.\d+)*")
_LONGEST_UID = 64
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d)([0-5]\d)(\.\d{1,6})?")
_PIXELS = 0x7FE0  # group


class SourceImage(NamedTuple):
    """A DICOM image that was predicted.

    Attributes:
        sop_class: SOP Class UID.
        sop_instance: SOP Instance UID.
        study: Study Instance UID.
        series: Series Instance UID.
        number: Instance Number; None if unknown.
    """

    sop_class: str
    sop_instance: str
    study: str
    series: str
    number: int | None

    @property
    def order(self) -> tuple[bool, int, str]:
        """Sort key of the images in a result, which does not depend on the names of files."""
        return self.number is None, self.number or 0, self.sop_instance


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceSeries:
    """A series of DICOM images.

    Attributes:
        study: Study Instance UID.
        series: Series Instance UID.
        images: Image of each file, by its path as it was given, in the order of their numbers and UIDs.
        header: Elements of the first one before its pixels, with text as Unicode; it has patient data.
        moment: Latest date and time in the headers, as the elements of DICOM have them (`YYYYMMDD`, `HHMMSS` and a
            fraction); None if there is no date.
        number: Series Number; None if unknown.
        content: Hash of all that was received of the series, 64 hexadecimal digits.
    """

    study: str
    series: str
    images: Mapping[str, SourceImage]
    header: Dataset
    moment: tuple[str, str] | None
    number: int | None
    content: str

    @property
    def instances(self) -> list[str]:
        """SOP Instance UIDs, in ascending order, each once."""
        return sorted({image.sop_instance for image in self.images.values()})

    @property
    def series_moment(self) -> tuple[str, str] | None:
        """Date and time of the series, else of the study, which later instances do not change; None if unknown."""
        return next(_moments(self.header, _MOMENTS[-2:]), None)

    def image_of(self, source: str, frame: int | None) -> SourceImage:
        """Returns the image of a prediction by its `source` and `frame`."""
        return self.images[source if frame is None else source.removesuffix(f"#{frame + 1}")]


def content_of(files: Iterable[str | Path]) -> str:
    """Returns a hash of the datasets of files in any order: 64 hexadecimal digits.

    Preamble and File Meta Information are not in it: each program that passes on an instance writes its own. Of a file
    in which they cannot be read, all bytes are.

    Raises:
        OSError: If a file cannot be read.
    """
    digests = []
    for file in files:
        with Path(file).open("rb") as opened:
            opened.seek(offset_of_data_set(opened))
            digests.append(hashlib.file_digest(opened, "sha256").digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def read_source(files: Sequence[str], content: str | None = None) -> SourceSeries:
    """Reads the headers of the files of a series.

    Args:
        files: Paths of at least one file.
        content: Hash of all that was received of the series; None for that of the files.

    Raises:
        CtonnxError: If a file cannot be read or has no UID of its own, as results refer to it, if the files are of
            several series or studies, or if they are results of ctonnx. The message names no file and no patient.
    """
    images: dict[str, SourceImage] = {}
    moments: list[tuple[str, str]] = []
    faults = Counter[str]()
    for file in files:
        try:
            found, meta = _read(file)
        except ImageError as error:
            faults[f"that cannot be read ({error.reason})"] += 1
            continue
        uids = [_uid(found, name) or _uid(meta, _IN_META.get(name, "")) for name in _UIDS]
        for name in (name for name, uid in zip(_UIDS, uids, strict=True) if not uid):
            faults[f"without a valid {name}"] += 1
        images[file] = SourceImage(uids[0], uids[1], uids[2], uids[3], _number(found, "InstanceNumber"))
        moments.extend(_moments(found))
    seen = Counter(image.sop_instance for image in images.values() if image.sop_instance)
    if repeated := sum(count for count in seen.values() if count > 1):  # copies of a file are left out before
        faults["that share their SOPInstanceUID"] = repeated
    if faults:
        named = ", ".join(f"{counted(count, 'file')} {what}" for what, count in sorted(faults.items()))
        raise CtonnxError(f"expected DICOM files with the UIDs that a result refers to, found {named}")
    for kind, plural in (("study", "studies"), ("series", "series")):
        if (count := len({getattr(image, kind) for image in images.values()})) > 1:
            raise CtonnxError(f"expected files of one {kind}, found {count} {plural}")
    images = dict(sorted(images.items(), key=lambda one: one[1].order))
    try:
        header, _ = _read(next(iter(images)), is_complete=True)
    except ImageError as error:
        raise CtonnxError(f"expected DICOM files for a result, found 1 that cannot be read ({error.reason})") from None
    if _text(header, "Manufacturer") == MANUFACTURER:
        raise CtonnxError("expected a series of a scanner, found a result of ctonnx")
    first = next(iter(images.values()))
    return SourceSeries(
        study=first.study,
        series=first.series,
        images=images,
        header=header,
        moment=max(moments, default=None),
        number=_number(header, "SeriesNumber"),
        content=content_of(files) if content is None else content,
    )


def _read(file: str, *, is_complete: bool = False) -> tuple[Any, Any]:
    """Returns the dataset of a file, of a few elements by default, and its File Meta Information where it is needed."""
    with open_source(file) as (opened, size, name):
        plain = None if is_complete else read_plain_values(opened, _READ)
        if plain is not None and all(_uid(plain, keyword) for keyword in _UIDS):
            return plain, {}

        def read() -> tuple[Any, Any]:
            data = read_data_set(opened, size, name, only=() if is_complete else _READ)
            return _decoded(data.header), data.meta

        return redacting(name, read, lambda: "its header cannot be read")


def _decoded(header: Any) -> Dataset:
    """Returns the elements that can be decoded, with all text as Unicode, as results have another character set."""
    found = Dataset()
    for tag in list(header.keys()):
        if tag.group >= _PIXELS or tag.is_private:
            continue
        with suppress(Exception):  # pydicom raises any exception for a damaged element
            element = header[tag]
            if element.VR == "SQ":
                for item in element.value:
                    for _ in item.iterall():  # decodes it
                        pass
            found.add(element)
    return found


def _uid(header: Any, name: str) -> str:
    """Returns a UID; empty if it is missing or invalid."""
    text = _text(header, name)
    return text if len(text) <= _LONGEST_UID and _UID.fullmatch(text) else ""


def _text(header: Any, name: str) -> str:
    with suppress(Exception):
        value = header.get(name) if name else None
        return str(value).strip(" \0") if value is not None else ""
    return ""


def _number(header: Any, name: str) -> int | None:
    with suppress(Exception):
        return int(header.get(name))
    return None


def _moments(header: Any, pairs: Iterable[tuple[str, str]] = _MOMENTS) -> Iterator[tuple[str, str]]:
    for names in pairs:
        day, time = (_text(header, name) for name in names)
        with suppress(ValueError):
            if len(day) == 8:
                datetime.strptime(day, "%Y%m%d")  # only checked
                yield day, time if _TIME.fullmatch(time) else "000000"
