"""One model in one process of a Ray cluster: names of files in, rows out."""

import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from ctonnx.errors import ImageError, NotEnoughMemory
from ctonnx.images.source import ImageSource
from ctonnx.inference.providers import Provider
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Failure, Record
from ctonnx.prediction.streaming import workers_for
from ctonnx.system.files import sha256_of
from ctonnx_scale.journal import MOST_ATTEMPTS
from ctonnx_scale.rows import MODEL, packed, path_of, table_of
from ctonnx_scale.storage import is_missing, is_remote, read, reason_of_store

__all__ = ["ActorModel", "PredictorActor", "PredictorSettings", "records_of"]

_READERS = 8  # threads that read from an object store: each waits for the network most of the time
_PAUSES = (0.5, 2.0)  # seconds before files that could not be opened are read again
_MANY = 1 << 20  # images: as many batches at a time as there are threads


@dataclass(frozen=True, kw_only=True)
class ActorModel:
    """The model file of the driver.

    Attributes:
        path: Absolute path on the driver's machine.
        sha256: Checksum of the file.
        content: Function that returns the bytes of the file, for nodes that do not have it.
        is_signed: Whether these bytes were signed: each node then opens a copy of them, as its own file could be
            exchanged after it was compared.
    """

    path: str
    sha256: str
    content: Callable[[], bytes]
    is_signed: bool = False

    @contextmanager
    def file(self) -> Iterator[Path]:
        """Yields the path of the file on this node; a copy is removed at the end of the block."""
        path = Path(self.path)
        with suppress(OSError):
            if not self.is_signed and sha256_of(path) == self.sha256:
                yield path
                return
        with tempfile.TemporaryDirectory(prefix="ctonnx-") as folder:
            copy = Path(folder, path.name)
            copy.write_bytes(self.content())
            yield copy


@dataclass(frozen=True, kw_only=True)
class PredictorSettings:
    """Settings of the model in each actor; see `ctonnx.prediction.predictor.Predictor`.

    Attributes:
        provider: Execution provider.
        threads: Number of threads of the model, and of the actor's CPUs.
        batch_size: Number of images per batch; None is that of the provider.
        check: Whether a damaged model file is rejected.
        folder: Working folder of the driver, for relative paths.
        threshold: Threshold of the model's operating point, in each row; None without one.
        time: Time of the run, in each row.
    """

    provider: Provider
    threads: int
    batch_size: int | None
    check: bool
    folder: str
    threshold: float | None
    time: datetime


class PredictorActor:
    """Predicts batches of files with one model.

    Args:
        model: Model file.
        settings: Settings of the model.
        call: Calls a method of the run's `ctonnx_scale.journal.Journal` by its name and returns the result.
    """

    def __init__(self, model: ActorModel, settings: PredictorSettings, call: Callable[..., Any]) -> None:
        with suppress(OSError):  # a node without this folder reads absolute paths and object stores
            os.chdir(settings.folder)
        with model.file() as path:
            self._predictor = Predictor(
                path,
                provider=settings.provider,
                threads=settings.threads,
                workers=workers_for(_MANY, threads=settings.threads),
                check=settings.check,
            )
        self._batch_size, self._call = settings.batch_size, call
        self._origin = {MODEL: model.sha256, "threshold": settings.threshold, "time": settings.time}
        call("opened")

    def __call__(self, table: pa.Table) -> pa.Table:
        """Predicts the files of a batch.

        Args:
            table: The columns `batch`, the same number in each row, and `name`, the bytes of a file name.

        Returns:
            One row: `files`, the number of names, and `rows`, the packed rows of their images.
        """
        batch = table["batch"][0].as_py()
        names = [os.fsdecode(name) for name in table["name"].to_pylist()]
        unread = 0
        if self._call("begin", batch) == 1:
            try:
                records, unread = records_of(self._predictor, names, self._batch_size)
            except NotEnoughMemory:
                records = self._one_by_one(batch, names)
        else:
            records = self._one_by_one(batch, names)
        rows = packed(table_of(records, self._origin))
        self._call("end", batch, unread=unread)
        return pa.table({"files": [len(names)], "rows": pa.array([rows], pa.large_binary())})

    def _one_by_one(self, batch: int, names: Sequence[str]) -> list[Record]:
        """Predicts files of which one may end this process."""
        records: list[Record] = []
        for name in names:
            if self._call("begin", batch, name) > MOST_ATTEMPTS:
                records.append(
                    Failure(name, f"the process that read it ended {MOST_ATTEMPTS} times: killed, or out of memory")
                )
                continue
            try:
                records += records_of(self._predictor, [name], self._batch_size, pauses=())[0]
            except NotEnoughMemory as error:
                records.append(Failure(name, str(error)))
            self._call("end", batch, name)
        return records


def records_of(
    predictor: Predictor, names: Sequence[str], batch_size: int | None, *, pauses: Sequence[float] = _PAUSES
) -> tuple[list[Record], int]:
    """Predicts files, and reads those that cannot be opened again after each of some pauses.

    Args:
        predictor: The model.
        names: Paths and URIs.
        batch_size: Number of images per batch.
        pauses: Seconds before each further try.

    Returns:
        The records of all files, and the number of times that one was read again.

    Raises:
        NotEnoughMemory: If the memory does not suffice for a batch.
    """
    records, unread = _tried(predictor, names, batch_size)
    again = 0
    for pause in pauses:
        if not unread:
            break
        time.sleep(pause)
        again += len(unread)
        more, unread = _tried(predictor, list(unread), batch_size)
        records += more
    return records + list(unread.values()), again


def _tried(
    predictor: Predictor, names: Sequence[str], batch_size: int | None
) -> tuple[list[Record], dict[str, Failure]]:
    """Returns the records of files that could be opened, and the failures of the others."""
    unread: dict[str, Failure] = {}
    records: list[Record] = []
    for record in predictor.predict_many(_sources(names, records, unread), batch_size=batch_size):
        path = path_of(record)
        if isinstance(record, Failure) and record.frame is None and not is_remote(path) and is_missing(path):
            unread[path] = record
        else:
            records.append(record)
    return records, unread


def _sources(names: Sequence[str], failed: list[Record], unread: dict[str, Failure]) -> Iterator[ImageSource]:
    """Yields paths, and the bytes of files in object stores, which a few threads read ahead; in order."""
    ahead: deque[tuple[str, Any]] = deque()
    waiting = iter(names)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="ctonnx-reader") as pool:
        while True:
            for name in islice(waiting, 2 * _READERS - len(ahead)):
                ahead.append((name, pool.submit(read, name) if is_remote(name) else None))
            if not ahead:
                return
            name, reading = ahead.popleft()
            if reading is None:
                yield name
                continue
            try:
                yield reading.result()
            except ImageError as error:
                failed.append(Failure(name, error.reason))
            except OSError as error:
                unread[name] = Failure(name, f"cannot be read: {reason_of_store(error)}")
