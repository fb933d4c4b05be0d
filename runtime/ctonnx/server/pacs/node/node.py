"""The node: receives series, predicts them when they are complete, and sends the results on."""

import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from ctonnx.errors import CtonnxError, NotEnoughMemory
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.server.monitoring.usage_log import UsageLog
from ctonnx.server.pacs.audit import AuditLog, open_site_key
from ctonnx.server.pacs.node.outbox import Item, Outbox
from ctonnx.server.pacs.node.receiver import Receiver
from ctonnx.server.pacs.node.sender import Destination, Outcome, wait_before_next
from ctonnx.server.pacs.node.settings import NodeSettings
from ctonnx.server.pacs.node.spool import Instance, Spool
from ctonnx.server.pacs.node.worker import DiskFull, SeriesOutcome, SeriesWorker
from ctonnx.server.pacs.results.document import ResultModel
from ctonnx.server.pacs.results.source import content_of
from ctonnx.system.text import Log, counted

__all__ = ["Node"]

_LOCK_NAME = "node.lock"
_HOUSEKEEPING = 60.0  # seconds
_ABANDONED = 600.0  # seconds without a byte of an instance that is being received
_SEND_AT_A_TIME = 64
_POLL = 1.0
_BETWEEN_ROOM = 5.0  # seconds
_AFTER_FAILURE = 30.0  # seconds before a series is tried again after the disk was full


class Node:
    """A DICOM node.

    Args:
        predictor: Model.
        model: Description of the model for the results.
        settings: Settings.
        destinations: Destinations of the results.
        log: Called with messages, in which nothing of a patient is.
        usage: Log that one slice of each series is counted in; the caller closes it.

    Raises:
        CtonnxError: If the address cannot be used.
        OSError: If the folder cannot be used.
    """

    def __init__(
        self,
        predictor: Predictor,
        model: ResultModel,
        settings: NodeSettings,
        destinations: Sequence[Destination],
        log: Log = lambda line: None,
        *,
        usage: UsageLog | None = None,
    ) -> None:
        self._settings, self._log = settings, log
        self._destinations = {destination.name: destination for destination in destinations}
        self._changed = threading.Condition()
        self._arrived: dict[str, float] = {}  # series: time of its last instance, by time.monotonic
        self._stopping = threading.Event()
        # One thread for each destination, as a silent one takes a minute or more, and one for those of an earlier start
        self._results_wait: dict[str | None, threading.Event] = {
            name: threading.Event() for name in (*self._destinations, None)
        }
        self._needs_room = False  # an instance was rejected as the spool is full
        self._made_room = 0.0
        self._is_held = False  # predictions wait for the sending of results
        self.received = self.rejected = 0
        self.outcomes = Counter[str]()  # series, by `SeriesOutcome.kind`
        with ExitStack() as stack:
            settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.callback(os.close, _locked(settings.folder))
            key = open_site_key(settings.folder)
            names = Pseudonyms(key)
            self.spool = Spool(settings.folder, names, limit=settings.spool_limit)
            self.outbox = Outbox(settings.folder)
            stack.callback(self.outbox.close)
            self.audit = AuditLog(settings.folder, key)
            stack.callback(self.audit.close)
            self._worker = SeriesWorker(
                predictor,
                model,
                spool=self.spool,
                outbox=self.outbox,
                audit=self.audit,
                names=names,
                kinds=settings.kinds,
                destinations=tuple(self._destinations),
                usage=usage,
            )
            self.counted = self._worker.counted
            self._arrived.update(dict.fromkeys(self.spool.series(), time.monotonic()))
            self._receiver = Receiver(
                settings.receiver, self.spool, names, self.audit, self._note_instance, self._note_status
            )
            stack.callback(self._note_end)
            stack.callback(self._receiver.close)
            self._closing = stack.pop_all()
        self.audit.append("node", state="started", model=model.sha256)

    @property
    def folder(self) -> Path:
        """Folder of the node."""
        return self._settings.folder

    @property
    def port(self) -> int:
        """Port of the DICOM server."""
        return self._receiver.port

    @property
    def waiting(self) -> int:
        """Number of series that are not complete, or wait for their prediction."""
        return len(self._arrived)

    def run(self) -> None:
        """Predicts series and sends results until `stop` is called or an exception such as Ctrl-C is raised."""
        senders = [
            threading.Thread(target=self._send_all, args=(name,), name="ctonnx-sender") for name in self._results_wait
        ]
        for sender in senders:
            sender.start()
        next_care = 0.0
        try:
            while not self._stopping.is_set():
                if time.monotonic() >= next_care:
                    try:
                        self._keep_house()
                    except (OSError, sqlite3.OperationalError) as error:  # a full disk
                        self._log(f"old files are not removed: {getattr(error, 'strerror', None) or error}")
                    next_care = time.monotonic() + _HOUSEKEEPING
                if (series := self._next_complete(next_care)) is not None:
                    self._process(series, next_care)
                elif self._needs_room:
                    next_care, self._needs_room, self._made_room = 0.0, False, time.monotonic()
        finally:
            self._stopping.set()
            self._wake_senders()
            for sender in senders:
                sender.join()

    def stop(self) -> None:
        """Makes `run` end after the series that it predicts."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Ends the DICOM server and closes all files."""
        self._closing.close()

    def _note_end(self) -> None:
        with suppress(OSError):  # a full disk
            self.audit.append("node", state="stopped")

    def __enter__(self) -> "Node":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _note_instance(self, instance: Instance) -> None:
        with self._changed:
            self._arrived[instance.series] = time.monotonic()
            self._changed.notify_all()

    def _note_status(self, status: int) -> None:
        with self._changed:
            if status == 0:
                self.received += 1
            else:
                self.rejected += 1
                if self.spool.is_full() and time.monotonic() > self._made_room + _BETWEEN_ROOM:
                    self._needs_room = True
                    self._changed.notify_all()

    def _next_complete(self, until: float) -> str | None:
        """Waits for a complete series, and takes it; None at a time."""
        with self._changed:
            while self._may_predict(until):
                if (found := self._take_complete()) is not None:
                    return found
                nearest = min(self._arrived.values(), default=until) + self._settings.settle
                self._changed.wait(max(0.01, min(nearest, until) - time.monotonic()))
        return None

    def _may_predict(self, until: float) -> bool:
        return not self._stopping.is_set() and not self._needs_room and time.monotonic() < until

    def _take_complete(self, *, besides: Collection[str] = ()) -> str | None:
        """Takes the first complete series of those whose prediction never ended the process; None if there is none.

        One whose prediction did is taken alone, as it might end it again. One of `besides` is not taken again, with
        instances that came since.
        """
        with self._changed:
            settled = time.monotonic() - self._settings.settle
            complete = [name for name, last in self._arrived.items() if last <= settled]
            if not complete:
                return None
            starts = self.outbox.starts()
            chosen = min(complete, key=lambda name: (starts.get(name, 0), self._arrived[name]))
            if (
                chosen in besides
                or (besides and starts.get(chosen, 0))
                or any(starts.get(name, 0) > 1 for name in besides)
            ):
                return None
            del self._arrived[chosen]
            return chosen

    def _process(self, series: str, until: float) -> None:
        """Predicts a series, and those that are complete by then."""
        if self.spool.holds_too_many_results():
            if not self._is_held:
                self._log("results that are not sent have half of --max-spool; series wait until some are sent")
            self._is_held = True
            self._try_later([series])
            return
        self._is_held, taken = False, [series]

        def complete() -> Iterator[str]:
            yield series
            while self._may_predict(until) and not self.spool.holds_too_many_results():
                if (found := self._take_complete(besides=taken)) is None:
                    return
                taken.append(found)
                yield found

        try:
            for outcome in self._worker.process(complete()):
                taken.remove(outcome.series)
                self._note_outcome(outcome)
                if self.spool.is_nearly_full():
                    self._make_room()
            if self.spool.is_nearly_full():  # by series that were predicted before
                self._make_room()
        except (DiskFull, NotEnoughMemory) as error:
            self._log(f"{error}; tried again in {_AFTER_FAILURE:.0f} s")
            self._try_later(taken)
        except Exception as error:  # of the disk, for example; its text may have anything
            names = ", ".join(taken)
            self._log(f"series {names}: {type(error).__name__}; tried again in {_AFTER_FAILURE:.0f} s")
            self._try_later(taken)

    def _try_later(self, series: Iterable[str]) -> None:
        with self._changed:
            for name in series:
                self._arrived.setdefault(name, time.monotonic() + _AFTER_FAILURE - self._settings.settle)

    def _note_outcome(self, outcome: SeriesOutcome) -> None:
        series = outcome.series
        self.outcomes[outcome.kind] += 1
        images = counted(outcome.instances, "image")
        if outcome.error is not None:
            self._log(f"series {series}: {images}, no result: {outcome.error}")
        elif outcome.left_out is not None:
            self._log(f"series {series}: {images}, left out: {outcome.left_out}")
        else:
            results = counted(outcome.results, "result")
            self._log(f"series {series}: {images}, {outcome.decision}, {results}, {outcome.seconds:.1f} s")
        self._wake_senders()

    def _wake_senders(self) -> None:
        for event in self._results_wait.values():
            event.set()

    def _send_all(self, name: str | None) -> None:
        """Sends the results for a destination; None stands for those that are not destinations any more."""
        others = () if name is not None else tuple(self._destinations)
        while not self._stopping.is_set():
            wait = _POLL
            try:
                items = self.outbox.due(_SEND_AT_A_TIME, name, other_than=others)
                if items:
                    self._send(name, items)
            except Exception as error:  # a thread that ended would never send anything again
                self._log(f"results wait {_AFTER_FAILURE:.0f} s: {type(error).__name__}")
                items, wait = [], _AFTER_FAILURE
            if not items:
                (self._results_wait[name] if wait == _POLL else self._stopping).wait(wait)
                self._results_wait[name].clear()

    def _send(self, name: str | None, batch: Sequence[Item]) -> None:
        if name is None:
            for item in batch:
                self._note_sent(item, Outcome("it is not a destination any more"), is_final=True)
            return
        destination = self._destinations[name]
        files = [self.spool.results / f"{item.uid}.dcm" for item in batch]
        there = [(item, file) for item, file in zip(batch, files, strict=True) if file.is_file()]
        for item in {*batch} - {item for item, _ in there}:
            self._note_missing(item)
        if not there:
            return
        with closing(destination.send([file for _, file in there])) as outcomes:
            for item, _ in there:
                if self._stopping.is_set():
                    return
                try:
                    outcome = next(outcomes)
                except Exception as error:  # other results and destinations must not wait for this one
                    outcome = Outcome(f"an error of ctonnx: {type(error).__name__}", is_rejection=True)
                    self._note_sent(item, outcome)
                    return
                self._note_sent(item, outcome)

    def _note_missing(self, item: Item) -> None:
        """Makes `run` predict the series of a result without its file again, once, if its instances are there."""
        is_open = self.outbox.content_of(item.series) is None
        if not self.spool.files(item.series) or (item.rejections and not is_open):
            reason = "its file is missing, and its series is not in the spool or has other instances by now"
            self._note_sent(item, Outcome(reason), is_final=True)
            return
        if not is_open:
            self.outbox.reopen(item.series)
            with self._changed:
                self._arrived.setdefault(item.series, time.monotonic() - self._settings.settle)
                self._changed.notify_all()
        self._note_sent(item, Outcome("its file is missing; its series is predicted again", is_rejection=not is_open))

    def _note_sent(self, item: Item, outcome: Outcome, *, is_final: bool = False) -> None:
        facts = {"result": item.uid, "kind": item.kind, "series": item.series, "destination": item.destination}
        if outcome.error is None:
            self.outbox.mark_sent(item)
            self.audit.append("result sent", **facts)
            if not self.outbox.is_needed(item.uid):
                (self.spool.results / f"{item.uid}.dcm").unlink(missing_ok=True)
            return
        rejections = item.rejections + outcome.is_rejection
        wait = None if is_final else wait_before_next(item.attempts + 1, outcome, rejections=rejections)
        self.outbox.mark_failed(item, outcome.error, wait=wait, is_rejection=outcome.is_rejection)
        self.audit.append("result not sent", **facts, error=outcome.error, final=wait is None)
        if wait is None:
            self._log(f"a result is not sent to {item.destination}: {outcome.error}; see: ctonnx node status")

    def _keep_house(self) -> None:
        """Removes what is older than the retention, and files of associations that ended in the middle."""
        self.spool.remove_abandoned(older_than=_ABANDONED)
        if self.spool.is_nearly_full():
            self._make_room()
        before = time.time() - self._settings.keep
        for series, last in self.spool.series().items():
            if last < before:
                self._remove_finished(series)
        self.outbox.forget(before=before, kept=self.spool.series())
        for file in self.spool.results.glob("*.dcm"):
            with suppress(FileNotFoundError):
                if file.stat().st_mtime < before and not self.outbox.is_needed(file.stem):
                    file.unlink()

    def _make_room(self) -> None:
        """Removes finished series, the oldest first, until there is room again."""
        for series, _ in sorted(self.spool.series().items(), key=lambda pair: pair[1]):
            if self.spool.has_room():
                return
            self._remove_finished(series)

    def _remove_finished(self, series: str) -> None:
        """Removes the instances of a series if its results are of just these; another may come at any moment."""
        if series in self._arrived or (content := self.outbox.content_of(series)) is None:
            return
        files = self.spool.files(series)
        if content == content_of(files):
            self.outbox.note_removed(series)
            self.spool.remove(series, files)


def _locked(folder: Path) -> int:
    """Returns a handle that locks a folder until it is closed, or the process ends for any reason.

    Raises:
        CtonnxError: If another node has locked it.
    """
    handle = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise CtonnxError(
                f"expected a folder that no other node uses, found one that runs in '{folder}'; stop it, or name "
                "another --folder"
            ) from None
        except OSError:  # a file system without locks
            pass
    return handle
