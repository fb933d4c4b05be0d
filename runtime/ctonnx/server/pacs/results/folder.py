"""Objects of each series, written to a folder as they are predicted."""

import errno
import io
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from highdicom.base import SOPClass

from ctonnx.errors import CtonnxError, ImageError
from ctonnx.images.dicom.redaction import redacting
from ctonnx.prediction.output.group_batch import decode_slice
from ctonnx.prediction.results import Prediction, Record
from ctonnx.prediction.series.grouping import Group
from ctonnx.prediction.series.reduction import GroupFailure, GroupPrediction, GroupRecord
from ctonnx.server.pacs.results.document import FormerReport, ImageResult, ObjectKind, ResultModel, SeriesResult
from ctonnx.server.pacs.results.key_objects import key_objects
from ctonnx.server.pacs.results.report.structured_report import structured_report
from ctonnx.server.pacs.results.secondary_capture import secondary_capture
from ctonnx.server.pacs.results.source import read_source
from ctonnx.system.files import atomic_file

__all__ = ["KINDS", "ResultFolder", "made_objects", "write_object"]

KINDS: tuple[ObjectKind, ...] = ("sr", "sc")
"""Kinds of objects that can be chosen; a Key Object Selection comes with any of them."""

_Made = TypeVar("_Made")

_NO_MORE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})  # no other object can be written either


class ResultFolder:
    """Writes the objects of each series to a folder, named by their UIDs.

    It is a `ctonnx.prediction.output.group_batch.GroupWatch`: `add` is called with the record of each image, and
    `finish` when its series is complete.

    Args:
        folder: Folder that exists.
        model: The model.
        kinds: Kinds of objects, of `KINDS`.

    Attributes:
        written: Number of objects of each kind.
        series: Number of series with objects.
        failures: Pseudonym and reason of each series without its objects.
    """

    def __init__(self, folder: Path, model: ResultModel, kinds: Collection[ObjectKind] = KINDS) -> None:
        self._folder, self._model, self._kinds = folder, model, kinds
        self._images: list[ImageResult] = []
        self.written = Counter[ObjectKind]()
        self.series = 0
        self.failures: list[tuple[str, str]] = []

    def add(self, record: Record) -> None:
        """Keeps what a report has of the prediction for an image."""
        if self._kinds and isinstance(record, Prediction):
            self._images.append(ImageResult.of(record))

    def finish(self, group: Group, record: GroupRecord) -> None:
        """Writes the objects of a series, whose images were added since the last call.

        Raises:
            OSError: If the disk is full or the folder is read-only.
        """
        images, self._images = self._images, []
        if not self._kinds or isinstance(record, GroupFailure):  # its row has the reason
            return
        try:
            made = made_objects(group, record, images, self._model, self._kinds)
            for kind, one in made:
                write_object(one, self._folder)
                self.written[kind] += 1
            self.series += 1
        except OSError as error:
            if error.errno in _NO_MORE:
                raise
            self.failures.append((record.name, error.strerror or type(error).__name__))
        except CtonnxError as error:
            self.failures.append((record.name, str(error)))


def made_objects(
    group: Group,
    record: GroupPrediction,
    images: Sequence[ImageResult],
    model: ResultModel,
    kinds: Collection[ObjectKind] = KINDS,
    *,
    content: str | None = None,
    former: FormerReport | None = None,
) -> list[tuple[ObjectKind, SOPClass]]:
    """Returns the objects of a series: those of the kinds, and the key images if it is positive.

    Args:
        group: The series.
        record: Its prediction.
        images: Results of its predicted images, in the order of the prediction's curve.
        model: The model.
        kinds: Kinds of objects, of `KINDS`.
        content: Hash of all that was received of the series, on which UIDs depend; None for that of its files.
        former: Report that the report replaces; None for none.

    Raises:
        CtonnxError: If the headers of the series do not suffice; the message has no patient data.
    """
    source = read_source([one.file for one in group.files], content)
    result = SeriesResult(source=source, prediction=record, images=images, model=model, former=former)
    return _redacted(lambda: list(_objects(result, kinds)))


def write_object(made: SOPClass, folder: Path) -> None:
    """Writes an object to a folder, named by its UID, completely or not at all.

    Raises:
        CtonnxError: If it has an element that cannot be written; the message has no patient data.
        OSError: If the file cannot be written.
    """
    content = io.BytesIO()  # in memory, as `redacting` replaces every exception
    _redacted(lambda: made.save_as(content, enforce_file_format=True))
    with atomic_file(folder / f"{made.SOPInstanceUID}.dcm") as temporary:
        temporary.write_bytes(content.getbuffer())


def _objects(result: SeriesResult, kinds: Collection[ObjectKind]) -> Iterator[tuple[ObjectKind, SOPClass]]:
    if "sr" in kinds:
        yield "sr", structured_report(result)
    if "sc" in kinds:
        scan = decode_slice(result.prediction.strongest[0][1], result.model.spec.dicom_window)
        yield "sc", secondary_capture(result, scan)
    if kinds and result.prediction.decision == "positive":
        yield "ko", key_objects(result)


def _redacted(make: Callable[[], _Made]) -> _Made:
    """Calls a function that copies or writes elements; pydicom's warnings and errors, which quote them, end here.

    Raises:
        CtonnxError: If the function raised an exception; the message has no patient data.
    """
    try:
        return redacting("", make, lambda: "it has an element that a result cannot have")
    except ImageError as error:
        raise CtonnxError(error.reason) from None
