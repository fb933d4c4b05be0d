"""A log of what a server or node predicts: counts of each day and bin in an SQLite file, with nothing of a patient.

It has no time but the day, no name, number or UID, no pixel, and no single image: two files of the same counts are the
same. Its size is bounded: `KEPT_DAYS` days, and of each quantity at most `MOST_BINS` bins for a model; images
of further ones are counted as `other`.
"""

import os
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from ctonnx.errors import CtonnxError

__all__ = ["KEPT_DAYS", "MOST_BINS", "OTHER", "Sample", "UsageLog", "days_in_use", "models_in", "read_counts"]

KEPT_DAYS = 800
"""Days with images that are kept, the newest ones."""

MOST_BINS = 64
OTHER = "other"
"""Bin of an image whose own would be one too many."""

_Item = TypeVar("_Item")
_APPLICATION = (
    0x63746F6E  # `ctonn`, in the header of the file: https://www.sqlite.org/pragma.html#pragma_application_id
)
_VERSION = 1
_SECONDS = 5.0  # to wait for another process that writes
_POLL = 0.02
_TABLE = """
CREATE TABLE IF NOT EXISTS usage (
    model TEXT NOT NULL, day TEXT NOT NULL, quantity TEXT NOT NULL, bin TEXT NOT NULL, images INTEGER NOT NULL,
    PRIMARY KEY (model, day, quantity, bin)
) WITHOUT ROWID
"""
_FORGET = """
DELETE FROM usage WHERE day < (SELECT min(day) FROM (SELECT DISTINCT day FROM usage ORDER BY day DESC LIMIT ?))
"""
_ADD = """
INSERT INTO usage VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET images = images + excluded.images
"""


class Sample(Generic[_Item]):
    """One of the items that are offered, each with the same probability.

    The images of one series or request are alike. A test that took them for independent would give false alarms, so
    one of them is counted.

    Attributes:
        item: The chosen item; None if none was offered.
    """

    def __init__(self) -> None:
        self.item: _Item | None = None
        self._offered = 0

    def offer(self, item: _Item) -> None:
        """Offers an item."""
        self._offered += 1
        if random.randrange(self._offered) == 0:  # noqa: S311  nothing is kept secret by it
            self.item = item


class UsageLog:
    """Counts images in a file, in a thread, so that no prediction waits for a disk.

    A failure to write, as on a full disk, is reported once and costs the counts, not a prediction. What was counted in
    the last moment before a SIGKILL is lost; the file stays readable.

    Args:
        file: File, which is made if it does not exist, for its owner only.
        model: SHA-256 of the model file.
        report: Called with a sentence when writing fails for the first time, and after a success again.

    Raises:
        CtonnxError: If the file is not a usage log, or cannot be made.
    """

    def __init__(self, file: Path, model: str, report: Callable[[str], object]) -> None:
        self._file, self._model, self._report = file, model, report
        self._has_failed = False
        self._waiting: SimpleQueue[tuple[str, Mapping[str, str]] | None] = SimpleQueue()
        try:
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
            self._prepare(file)
        except (OSError, sqlite3.Error) as error:
            raise CtonnxError(
                f"expected a usage log, or a new file, in a folder that exists and is writable, found '{file}': "
                f"{_reason(error)}"
            ) from error
        self._thread = threading.Thread(target=self._write_all, name="ctonnx-usage", daemon=True)
        self._thread.start()

    def __enter__(self) -> "UsageLog":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add(self, bins: Mapping[str, str]) -> None:
        """Counts an image in its bins, from `ctonnx.artifacts.decision.usage.bins_of`. It returns at once."""
        self._waiting.put((datetime.now(UTC).date().isoformat(), bins))

    def close(self) -> None:
        """Writes what is counted, and ends the thread; a second call does nothing."""
        self._waiting.put(None)
        self._thread.join()

    @staticmethod
    def _prepare(file: Path) -> None:
        """Makes the table; another process may do the same at this moment."""
        end = time.monotonic() + _SECONDS
        while True:
            try:
                with _opened(file) as database:
                    file.chmod(0o600)  # an empty file that another program made
                    # SQLite does not wait for the lock that a change of this setting needs.
                    database.execute("PRAGMA journal_mode = WAL")
                    with database:
                        database.execute("BEGIN IMMEDIATE")
                        database.execute(f"PRAGMA application_id = {_APPLICATION}")
                        database.execute(f"PRAGMA user_version = {_VERSION}")
                        database.execute(_TABLE)
                return
            except sqlite3.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(_POLL)

    def _write_all(self) -> None:
        while (first := self._waiting.get()) is not None:
            counts, is_over = Counter[tuple[str, str, str]](), False
            item: tuple[str, Mapping[str, str]] | None = first
            while item is not None:
                day, bins = item
                counts.update((day, quantity, bin_) for quantity, bin_ in bins.items())
                if self._waiting.empty():
                    break
                item = self._waiting.get()
                is_over = item is None
            try:
                self._write(counts)
                self._has_failed = False
            except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
                if not self._has_failed:
                    self._report(f"the usage log '{self._file}' misses images: {_reason(error)}")
                self._has_failed = True
            if is_over:
                return

    def _write(self, counts: Mapping[tuple[str, str, str], int]) -> None:
        with _opened(self._file) as database, database:
            database.execute("BEGIN IMMEDIATE")  # else a transaction that began to read cannot wait for another writer
            known: dict[str, set[str]] = {}
            for quantity, bin_ in database.execute(
                "SELECT DISTINCT quantity, bin FROM usage WHERE model = ?", (self._model,)
            ):
                known.setdefault(quantity, set()).add(bin_)
            for (day, quantity, bin_), images in counts.items():
                bins = known.setdefault(quantity, set())
                kept = bin_ if bin_ in bins or len(bins) < MOST_BINS else OTHER
                bins.add(kept)
                database.execute(_ADD, (self._model, day, quantity, kept, images))
            # Days with images, not days of the calendar: a clock that was wrong for a moment removes one day, not all.
            database.execute(_FORGET, (KEPT_DAYS,))


@contextmanager
def _opened(file: Path, *, is_read_only: bool = False) -> Iterator[sqlite3.Connection]:
    """Opens a log.

    Raises:
        sqlite3.Error: If it is not one.
        FileNotFoundError: If it does not exist.
    """
    if not file.is_file():
        raise FileNotFoundError(f"there is no file '{file}'")
    # In a folder that cannot be written, SQLite reads a file with a log of changes only as one that does not change.
    changes = Path(f"{file}-wal")
    has_changes = changes.exists() and changes.stat().st_size > 0
    is_still = is_read_only and not has_changes and not os.access(file.parent, os.W_OK)
    mode = "ro&immutable=1" if is_still else "ro" if is_read_only else "rw"
    uri = f"{file.resolve().as_uri()}?mode={mode}"
    with closing(sqlite3.connect(uri, timeout=_SECONDS, uri=True, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = NORMAL")  # a loss of power may cost the last counts, never the file
        (application,), (version,) = (database.execute(f"PRAGMA {name}").fetchone() for name in _MARKS)
        is_empty = not is_read_only and not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not is_empty and (application, version) != (_APPLICATION, _VERSION):
            raise sqlite3.DatabaseError("it is not a usage log of this version of ctonnx")
        yield database


_MARKS = ("application_id", "user_version")


def models_in(file: Path) -> dict[str, int]:
    """Returns the number of images of each model, by the SHA-256 of its file.

    Raises:
        CtonnxError: If the file cannot be read.
    """
    text = "SELECT model, sum(images) FROM usage WHERE quantity = 'class' GROUP BY model"
    return {str(model): int(images) for model, images in _rows(file, text)}


def days_in_use(file: Path, model: str) -> dict[date, int]:
    """Returns the number of a model's images on each day, the oldest first.

    Raises:
        CtonnxError: If the file cannot be read.
    """
    text = "SELECT day, sum(images) FROM usage WHERE model = ? AND quantity = 'class' GROUP BY day ORDER BY day"
    rows = _rows(file, text, model)
    try:
        return {date.fromisoformat(day): int(images) for day, images in rows}
    except (TypeError, ValueError) as error:
        raise CtonnxError(f"expected the days of a usage log in '{file}', found it damaged; remove it") from error


def read_counts(file: Path, model: str, since: date, until: date) -> dict[str, dict[str, int]]:
    """Returns the number of a model's images in each bin of each quantity, from one day to another, both included.

    Raises:
        CtonnxError: If the file cannot be read.
    """
    text = """SELECT quantity, bin, sum(images) FROM usage
        WHERE model = ? AND day BETWEEN ? AND ? GROUP BY quantity, bin ORDER BY quantity, bin"""
    found: dict[str, dict[str, int]] = {}
    for quantity, bin_, images in _rows(file, text, model, since.isoformat(), until.isoformat()):
        found.setdefault(quantity, {})[bin_] = int(images)
    return found


def _rows(file: Path, text: str, *values: str) -> list[tuple[Any, ...]]:
    try:
        with _opened(file, is_read_only=True) as database:
            return database.execute(text, values).fetchall()
    except (OSError, sqlite3.Error, UnicodeDecodeError) as error:  # the last one from a damaged text
        raise CtonnxError(
            f"expected a usage log of ctonnx serve or ctonnx node, found '{file}': {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
