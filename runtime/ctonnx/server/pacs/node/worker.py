"""From a complete series in the spool to results in the queue."""

import errno
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from ctonnx.artifacts.decision.rule import DecisionName
from ctonnx.errors import CtonnxError, NotEnoughMemory
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Prediction, Record
from ctonnx.prediction.series.grouping import Group, group_files
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.prediction.series.reduction import GroupPrediction, GroupRecord, GroupRule
from ctonnx.prediction.series.slices import slice_reader
from ctonnx.prediction.series.stream import predict_groups
from ctonnx.server.monitoring.usage_log import Sample, UsageLog
from ctonnx.server.pacs.audit import AuditLog
from ctonnx.server.pacs.node.outbox import Outbox, Report
from ctonnx.server.pacs.node.spool import Spool
from ctonnx.server.pacs.results.document import FormerReport, ImageResult, ObjectKind, ResultModel
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
        decision: Decision; None if it failed or was left out.
        error: Reason if it failed; it has nothing of a patient.
        left_out: Slices that were left out, with their reasons, if these are all; likewise.
        results: Number of its results.
        seconds: Time since it was taken; another one may have been predicted in it.
    """

    series: str
    instances: int
    decision: DecisionName | None
    error: str | None
    left_out: str | None
    results: int
    seconds: float

    @property
    def kind(self) -> str:
        """Decision, `left out` or `failed`."""
        return self.decision or ("failed" if self.left_out is None else "left out")


class SeriesWorker:
    """Predicts series.

    Attributes:
        counted: Number of series by quantity and bin of one of their slices, since the start.

    Args:
        predictor: Model.
        model: Description of the model for the results, with the rule that decides about a series.
        kinds: Kinds of results.
        destinations: Names of the destinations of the results.
        usage: Log that one slice of each series is counted in.
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
        usage: UsageLog | None = None,
    ) -> None:
        self._usage = usage
        self.counted = Counter[tuple[str, str]]()
        self._predictor, self._model = predictor, model
        self._spool, self._outbox, self._audit = spool, outbox, audit
        self._read = slice_reader(names, needs_dicom=True)
        self._kinds, self._destinations = tuple(kinds), tuple(destinations)

    def process(self, series: Iterable[str]) -> Iterator[SeriesOutcome]:
        """Predicts series as one stream, and queues their results.

        The next one is taken while one is predicted, so that the model computes on while results are made. One that
        has had no new instance since it was predicted is skipped.

        Args:
            series: Pseudonyms, each once.

        Raises:
            DiskFull: If the disk takes no results.
            NotEnoughMemory: If the memory does not suffice for a batch.
        """
        rest, jobs = iter(series), deque[_Job]()
        while True:
            try:
                yield from self._stream(rest, jobs)
                return
            except Exception as error:
                for job in jobs:
                    self._outbox.end(job.series)
                if (reason := _reason_of_full_disk(error)) is not None:
                    raise DiskFull(f"expected space for the results of a series, found none ({reason})") from error
                if isinstance(error, NotEnoughMemory) or not jobs:  # of this moment, not of a series
                    raise
                if len(jobs) == 1:
                    yield self._failed(jobs.pop(), error)
            while jobs:  # each alone, as only one of them may be the reason
                yield from self.process([jobs.popleft().series])

    def _stream(self, series: Iterable[str], jobs: deque["_Job"]) -> Iterator[SeriesOutcome]:
        """Predicts series; `jobs` has those that are taken and have no outcome, in order."""
        ended: deque[SeriesOutcome] = deque()  # before their prediction

        def groups() -> Iterator[Group]:
            for name in series:
                if (job := self._job(name)) is None:
                    continue
                jobs.append(job)
                try:
                    group = self._begin(job)
                except NotEnoughMemory:
                    raise
                except CtonnxError as error:
                    ended.append(self._failed(jobs.pop(), error))
                    continue
                if group.files or group.error is not None:
                    yield group
                else:
                    ended.append(self._noted(jobs.pop(), left_out=_left_out_text(group)))

        def keep(record: Record) -> None:
            if isinstance(record, Prediction):
                jobs[0].images.append(ImageResult.of(record))
                jobs[0].slice.offer(record.bins)

        records = predict_groups(
            groups(),
            self._predictor.predict_many,
            spec=self._predictor.spec,
            rule=self._model.rule,
            read=self._read,
            on_record=keep,
        )
        with closing(records):
            for record in records:
                outcome = self._finished(jobs[0], record)
                jobs.popleft()
                yield outcome
                while ended:
                    yield ended.popleft()
        yield from ended

    def _job(self, series: str) -> "_Job | None":
        """Returns the job for a series; None if nothing has come since it was predicted."""
        if not (files := self._spool.files(series)):
            return None
        content = content_of(files)
        if self._outbox.content_of(series) == content:
            self._outbox.touch(series)
            return None
        return _Job(series=series, files=files, content=content)

    def _begin(self, job: "_Job") -> Group:
        """Counts the start of a prediction, and returns its series.

        Raises:
            CtonnxError: If it cannot be predicted.
        """
        if (starts := self._outbox.starts().get(job.series, 0)) >= _MOST_STARTS:
            raise CtonnxError(f"its prediction ended the node {starts} times, possibly as memory was short")
        self._outbox.start(job.series)
        groups = group_files([str(file) for file in job.files], "series", self._read, needs_slices=False).groups
        if len(groups) != 1:
            raise CtonnxError(f"expected one series, found {len(groups)}")
        job.group = groups[0]
        return job.group

    def _finished(self, job: "_Job", record: GroupRecord) -> SeriesOutcome:
        """Makes and queues the results of a prediction.

        Raises:
            OSError: If the disk is full.
            sqlite3.OperationalError: Likewise.
        """
        if not isinstance(record, GroupPrediction):
            return self._failed(job, CtonnxError(record.error))
        if job.slice.item is not None:
            self.counted.update(job.slice.item.items())
            if self._usage is not None:
                self._usage.add(job.slice.item)
        try:
            version = job.content
            if self._outbox.lacks_removed(job.series, job.content):
                version += " incomplete"  # another result than that of a series of these instances alone
                if record.decision == "negative":
                    record = replace(record, decision="refer", reason=_INCOMPLETE)
            results, report = self._write(job, record, version)
        except sqlite3.OperationalError:
            raise
        except Exception as error:
            if _reason_of_full_disk(error) is not None:
                raise
            return self._failed(job, error)
        return self._noted(job, decision=record.decision, results=results, report=report)

    def _failed(self, job: "_Job", error: Exception) -> SeriesOutcome:
        """Notes a series without results; of an unexpected exception, whose text may quote an element, its type."""
        if isinstance(error, CtonnxError):
            reason = str(error)
        elif isinstance(error, OSError):
            reason = error.strerror or type(error).__name__
        else:
            reason = f"an error of ctonnx: {type(error).__name__}"
        return self._noted(job, error=reason)

    def _noted(
        self,
        job: "_Job",
        *,
        decision: DecisionName | None = None,
        error: str | None = None,
        left_out: str | None = None,
        results: Sequence[tuple[str, str]] = (),
        report: Report | None = None,
    ) -> SeriesOutcome:
        outcome = SeriesOutcome(
            series=job.series,
            instances=len(job.files),
            decision=decision,
            error=error,
            left_out=left_out,
            results=len(results),
            seconds=time.perf_counter() - job.begun,
        )
        self._audit.append(
            "series",
            series=job.series,
            instances=outcome.instances,
            model=self._model.sha256,
            decision=decision,
            error=error,
            left_out=left_out,
            results=[uid for uid, _ in results],
            seconds=round(outcome.seconds, 3),
        )
        self._outbox.finish(
            job.series,
            job.content,
            outcome.instances,
            decision=decision,
            error=error,
            results=results,
            destinations=self._destinations,
            report=report,
        )
        return outcome

    def _write(self, job: "_Job", record: GroupPrediction, content: str) -> tuple[list[tuple[str, str]], Report | None]:
        """Writes the objects of a series; returns the UID and kind of each, and the report among them."""
        written: list[tuple[str, str]] = []
        version, report = f"{content} {self._model.sha256}", None
        former = self._outbox.former_report(job.series, version)
        replaced = None if former is None else FormerReport(*former)
        made = made_objects(job.group, record, job.images, self._model, self._kinds, content=content, former=replaced)
        for kind, one in made:
            write_object(one, self._spool.results)
            written.append((str(one.SOPInstanceUID), kind))
            if kind == "sr":
                report = Report(version, str(one.SeriesInstanceUID), str(one.SOPInstanceUID), former)
        sync_folder(self._spool.results)  # before the queue has them
        return written, report


@dataclass(kw_only=True, eq=False)
class _Job:
    """A series that is being predicted, with the results of its images so far."""

    series: str
    files: Sequence[Path]
    content: str
    group: Group = field(init=False)
    images: list[ImageResult] = field(default_factory=list)
    slice: Sample[Mapping[str, str]] = field(default_factory=Sample)
    begun: float = field(default_factory=time.perf_counter)


def _left_out_text(group: Group) -> str:
    counts = Counter[str]()
    for one in group.left_out:
        counts[one.kind] += one.slices
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def _reason_of_full_disk(error: Exception) -> str | None:
    if isinstance(error, OSError) and error.errno in _FULL:
        return error.strerror
    return str(error) if isinstance(error, sqlite3.OperationalError) else None


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
