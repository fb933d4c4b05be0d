"""From a complete series in the spool to results in the queue."""

import errno
import sqlite3
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ctonnx.errors import CtonnxError, NotEnoughMemory
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Prediction, Record
from ctonnx.prediction.series.grouping import Group, group_files
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.prediction.series.reduction import GroupPrediction, GroupRecord, GroupRule
from ctonnx.prediction.series.slices import slice_reader
from ctonnx.prediction.series.stream import predict_groups
from ctonnx.server.pacs.audit import AuditLog
from ctonnx.server.pacs.node.outbox import Outbox
from ctonnx.server.pacs.node.spool import Spool
from ctonnx.server.pacs.results.document import ImageResult, ObjectKind, ResultModel
from ctonnx.server.pacs.results.folder import made_objects, write_object
from ctonnx.server.pacs.results.source import content_of
from ctonnx.system.files import sync_folder

__all__ = ["DiskFull", "SeriesOutcome", "SeriesWorker", "required_rule"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_INCOMPLETE = "earlier instances of the series were removed after their prediction, and a finding may be there"
_MOST_STARTS = 5  # predictions of a series that ended the process, as the operating system does if memory is short


class DiskFull(CtonnxError):
    """The disk takes no results; the series stays in the spool and is predicted later."""


@dataclass(frozen=True, kw_only=True)
class SeriesOutcome:
    """Result of a series.

    Attributes:
        series: Pseudonym.
        instances: Number of instances.
        decision: Decision; None if it failed.
        error: Reason if it failed; it has nothing of a patient.
        results: Number of its results.
        seconds: Time.
    """

    series: str
    instances: int
    decision: str | None
    error: str | None
    results: int
    seconds: float


class SeriesWorker:
    """Predicts series.

    Args:
        predictor: Model.
        model: Description of the model for the results, with the rule that decides about a series.
        kinds: Kinds of results.
        destinations: Names of the destinations of the results.
    """

    def __init__(
        self,
        predictor: Predictor,
        model: ResultModel,
        *,
        spool: Spool,
        outbox: Outbox,
        audit: AuditLog,
        names: Pseudonyms,
        kinds: Collection[ObjectKind],
        destinations: Sequence[str],
    ) -> None:
        self._predictor, self._model = predictor, model
        self._spool, self._outbox, self._audit = spool, outbox, audit
        self._read = slice_reader(names, needs_dicom=True)
        self._kinds, self._destinations = tuple(kinds), tuple(destinations)

    def process(self, series: str) -> SeriesOutcome | None:
        """Predicts a series and queues its results; None if nothing has come since it was predicted.

        Raises:
            DiskFull: If the disk takes no results.
            NotEnoughMemory: If the memory does not suffice for a batch.
        """
        files = self._spool.files(series)
        content = content_of(files)
        try:
            if not files:
                return None
            if self._outbox.content_of(series) == content:
                self._outbox.touch(series)
                return None
            return self._process(series, files, content)
        except (OSError, sqlite3.OperationalError) as error:
            if isinstance(error, OSError) and error.errno not in _FULL:
                raise
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self._outbox.end(series)
            raise DiskFull(f"expected space for the results of a series, found none ({reason})") from error

    def _process(self, series: str, files: Sequence[Path], content: str) -> SeriesOutcome:
        start = time.perf_counter()
        starts = self._outbox.starts().get(series, 0)
        results: list[tuple[str, str]] = []
        decision, error = None, None
        try:
            if starts >= _MOST_STARTS:
                raise CtonnxError(f"its prediction ended the node {starts} times, possibly as memory was short")
            self._outbox.start(series)
            group, record, images = self._predict(files)
            if isinstance(record, GroupPrediction):
                version = content
                if self._outbox.lacks_removed(series, content):
                    version += " incomplete"  # another result than that of a series of these instances alone
                    if record.decision == "negative":
                        record = replace(record, decision="refer", reason=_INCOMPLETE)
                decision = record.decision
                results = self._write(group, record, images, version)
            else:
                error = record.error
        except NotEnoughMemory:  # of this moment, not of the series
            self._outbox.end(series)
            raise
        except CtonnxError as found:
            decision, error = None, str(found)
        except OSError as found:
            if found.errno in _FULL:
                raise
            decision, error = None, found.strerror or type(found).__name__
        except sqlite3.OperationalError:
            raise
        except Exception as found:  # its text may quote an element, and another series must not wait for this one
            decision, error, results = None, f"an error of ctonnx: {type(found).__name__}", []
        outcome = SeriesOutcome(
            series=series,
            instances=len(files),
            decision=decision,
            error=error,
            results=len(results),
            seconds=time.perf_counter() - start,
        )
        self._audit.append(
            "series",
            series=series,
            instances=len(files),
            model=self._model.sha256,
            decision=decision,
            error=error,
            results=[uid for uid, _ in results],
            seconds=round(outcome.seconds, 3),
        )
        self._outbox.finish(
            series,
            content,
            len(files),
            decision=decision,
            error=error,
            results=results,
            destinations=self._destinations,
        )
        return outcome

    def _predict(self, files: Sequence[Path]) -> tuple[Group, GroupRecord, list[ImageResult]]:
        groups = group_files([str(file) for file in files], "series", self._read).groups
        if len(groups) != 1:
            raise CtonnxError(f"expected one series, found {len(groups)}")
        images: list[ImageResult] = []

        def keep(record: Record) -> None:
            if isinstance(record, Prediction):
                images.append(ImageResult.of(record))

        (found,) = predict_groups(
            groups,
            partial(self._predictor.predict_many),
            spec=self._predictor.spec,
            rule=self._model.rule,
            read=self._read,
            on_record=keep,
        )
        return groups[0], found, images

    def _write(
        self, group: Group, record: GroupPrediction, images: Sequence[ImageResult], content: str
    ) -> list[tuple[str, str]]:
        written: list[tuple[str, str]] = []
        for kind, made in made_objects(group, record, images, self._model, self._kinds, content=content):
            write_object(made, self._spool.results)
            written.append((str(made.SOPInstanceUID), kind))
        sync_folder(self._spool.results)  # before the queue has them
        return written


def required_rule(predictor: Predictor) -> GroupRule:
    """Returns the rule by which a model decides about a series.

    Raises:
        CtonnxError: If it has none.
    """
    rule = GroupRule.of(predictor.spec)
    if rule is None:
        raise CtonnxError(
            f"expected a model with an operating point for decisions, found none in '{predictor.path}'; train it on "
            "images of suspicious and other classes"
        )
    return rule
