"""The node's folder of received instances: bytes as they came, grouped by series, safe on the disk.

No name of a file or folder has anything of a patient: series and instances are named by pseudonyms under the site's
key. The files have everything: the folder can be read by its owner only.
"""

import errno
import math
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydicom import dcmread

from ctonnx.errors import CtonnxError
from ctonnx.images.dicom.dataset import read_plain_values
from ctonnx.prediction.series.pseudonyms import Pseudonyms

__all__ = ["Instance", "Spool", "UnusableInstance"]

_UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_INCOMING, _SERIES, _RESULTS = "incoming", "series", "results"
_ENDING = ".dcm"
_RESERVE = 256 * 1024**2  # bytes of free disk space: the queue and the results need some, too
_PAUSE = 20  # times as long as measuring the results took, before they are measured again
_COMPLETE = 0o400  # mode of a file that is complete on the disk


class UnusableInstance(CtonnxError):
    """Instance without the UIDs that a result refers to, or whose header cannot be read."""


class Instance(NamedTuple):
    """An instance in the spool, by pseudonyms.

    Attributes:
        study: Pseudonym of the study.
        series: Pseudonym of the series.
        name: Pseudonym of the instance.
        size: Number of bytes.
    """

    study: str
    series: str
    name: str
    size: int


class Spool:
    """Received instances and results that wait to be sent.

    Args:
        folder: Folder of the node; made if missing.
        names: Pseudonyms under the site's key.
        limit: Maximum size in bytes of the instances, with those that are being received, and of the results that wait.

    Raises:
        OSError: If the folder cannot be made or read.
    """

    def __init__(self, folder: Path, names: Pseudonyms, *, limit: int) -> None:
        self.folder, self._names, self.limit = folder, names, limit
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for inner in (self.incoming, self.results, self._series):
            inner.mkdir(mode=0o700, exist_ok=True)
        self._lock = threading.Lock()
        self._bytes = sum(_size(file) for _, file in self._files())
        self._result_bytes, self._measured_until = 0, -math.inf
        for file in self.incoming.iterdir():
            self._recover(file)

    @property
    def incoming(self) -> Path:
        """Folder of instances that are being received; on the same file system as all others."""
        return self.folder / _INCOMING

    @property
    def results(self) -> Path:
        """Folder of results that wait to be sent."""
        return self.folder / _RESULTS

    @property
    def _series(self) -> Path:
        return self.folder / _SERIES

    @property
    def bytes(self) -> int:
        """Size of all instances."""
        return self._bytes

    def result_bytes(self) -> int:
        """Returns the size of the results that wait; of very many, that of some seconds ago."""
        if (start := time.monotonic()) >= self._measured_until:
            self._result_bytes = _size_of_folder(self.results)
            end = time.monotonic()
            self._measured_until = end + _PAUSE * (end - start)
        return self._result_bytes

    def holds_too_many_results(self) -> bool:
        """Returns whether no more are made before some of them are sent: they have reached half of the limit."""
        return self.result_bytes() >= 0.5 * self.limit

    def is_full(self) -> bool:
        """Returns whether no other instance is taken: they have reached the limit, or the disk is full."""
        return self._all_bytes() >= self.limit or self.free_bytes() < _RESERVE

    def require_space(self) -> None:
        """Checks that another part of an instance may be written to `incoming`.

        Raises:
            OSError: If the spool or the disk is full.
        """
        if self.is_full():
            raise OSError(errno.ENOSPC, "the spool or the disk is full")

    def is_nearly_full(self) -> bool:
        """Returns whether finished series should be removed."""
        return self._all_bytes() > 0.8 * self.limit or self.free_bytes() < 2 * _RESERVE

    def has_room(self) -> bool:
        """Returns whether enough of them was removed."""
        return self._all_bytes() <= 0.5 * self.limit and self.free_bytes() >= 3 * _RESERVE

    def take(self, received: Path) -> Instance:
        """Moves a complete file of `incoming` to its series; the disk has it when this returns.

        An instance that was sent before replaces itself. The file is written to the disk with a mark that it is
        complete, and its new name is not: after a power failure it may be in `incoming` again, where the next start
        finds it. One write to the disk is half the time of two.

        Raises:
            UnusableInstance: If its header lacks a UID or cannot be read; the message has nothing of the header.
            OSError: If the disk fails or is full.
        """
        instance, study, series = _read_uids(received)
        found = Instance(
            self._names.of("study", study),
            self._names.of("series", f"{study} {series}"),
            self._names.of("instance", instance),
            received.stat().st_size,
        )
        _sync_complete(received)
        folder = self._series / found.series
        target = folder / f"{found.name}{_ENDING}"
        with self._lock:  # `remove` may remove the folder
            folder.mkdir(mode=0o700, exist_ok=True)
            before = _size(target)
            received.replace(target)
            self._bytes += found.size - before
        return found

    def _recover(self, file: Path) -> None:
        """Takes a complete file that was in `incoming` when the node ended; others were never acknowledged."""
        with suppress(UnusableInstance):
            if file.stat().st_mode & 0o777 == _COMPLETE:
                self.take(file)
        file.unlink(missing_ok=True)

    def series(self) -> dict[str, float]:
        """Returns the time of the last instance of each series, in seconds since the epoch."""
        latest: dict[str, float] = {}
        for name, file in self._files():
            with suppress(OSError):
                latest[name] = max(latest.get(name, 0.0), file.stat().st_mtime)
        return latest

    def files(self, series: str) -> list[Path]:
        """Returns the instances of a series, sorted by name."""
        folder = self._series / series
        return sorted(folder.glob(f"*{_ENDING}")) if folder.is_dir() else []

    def remove(self, series: str, files: Iterable[Path] | None = None) -> None:
        """Removes instances of a series, all by default."""
        for file in self.files(series) if files is None else files:
            with suppress(FileNotFoundError):
                size = _size(file)
                file.unlink()
                with self._lock:
                    self._bytes -= size
        with self._lock, suppress(OSError):  # an instance may have come in the meantime
            (self._series / series).rmdir()

    def remove_abandoned(self, *, older_than: float) -> int:
        """Removes files of `incoming` that nothing was written to for a number of seconds; returns their number."""
        removed = 0
        for file in self.incoming.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime > older_than:
                    file.unlink()
                    removed += 1
        return removed

    def free_bytes(self) -> int:
        """Returns the free space of the file system."""
        return shutil.disk_usage(self.folder).free

    def _all_bytes(self) -> int:
        return self._bytes + _size_of_folder(self.incoming) + self.result_bytes()

    def _files(self) -> Iterator[tuple[str, Path]]:
        for folder in self._series.iterdir():
            if folder.is_dir():
                for file in folder.glob(f"*{_ENDING}"):
                    yield folder.name, file


def _size_of_folder(folder: Path) -> int:
    return sum(map(_size, folder.iterdir()))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _read_uids(file: Path) -> list[str]:
    """Returns the UIDs of an instance, its study and its series."""
    try:
        with file.open("rb") as opened:
            values: Any = read_plain_values(opened, _UIDS)
        if values is None:
            values = dcmread(file, stop_before_pixels=True, specific_tags=list(_UIDS))
        uids = [str(values.get(name) or "").strip(" \0") for name in _UIDS]
    except OSError:
        raise
    except Exception:  # pydicom raises any exception for a damaged file, and quotes it
        raise UnusableInstance("expected a DICOM header, found one that cannot be read") from None
    for name, uid in zip(_UIDS, uids, strict=True):
        if not uid:
            raise UnusableInstance(f"expected an instance with a {name}, found none")
    return uids


def _sync_complete(file: Path) -> None:
    """Marks a file as complete, and writes it with the mark to the disk."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fchmod(handle, _COMPLETE)
        os.fsync(handle)
    finally:
        os.close(handle)
