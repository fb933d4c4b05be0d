"""The node's queue of results: each is sent until its destination has it, also after a crash.

A result is in a file, named by its UID. The queue, in SQLite, has a row for each result and destination. Its states are
`queued`, `sent` and `dead`; a dead one is not tried again until `ctonnx node retry`.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from ctonnx.errors import DataError

__all__ = ["Counts", "Item", "Outbox", "Report", "State"]

FILE_NAME = "queue.sqlite"

State: TypeAlias = Literal["queued", "sent", "dead"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS series (
    name TEXT PRIMARY KEY,      -- pseudonym
    content TEXT NOT NULL,      -- hash of its instances; empty for another prediction
    finished REAL NOT NULL,     -- seconds since the epoch
    instances INTEGER NOT NULL,
    decision TEXT,              -- NULL if it failed or was left out
    error TEXT,                 -- NULL if it did not fail
    removed TEXT                -- hash of its instances when they were first removed from the spool
);
CREATE TABLE IF NOT EXISTS results (
    uid TEXT NOT NULL,
    destination TEXT NOT NULL,
    series TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'sent', 'dead')),
    attempts INTEGER NOT NULL DEFAULT 0,
    rejections INTEGER NOT NULL DEFAULT 0,  -- attempts that the destination answered with a rejection
    due REAL NOT NULL,          -- time of the next attempt
    changed REAL NOT NULL,
    error TEXT,
    PRIMARY KEY (uid, destination)
);
CREATE TABLE IF NOT EXISTS starts (
    name TEXT PRIMARY KEY,      -- pseudonym of a series
    count INTEGER NOT NULL      -- of its predictions that did not end
);
CREATE TABLE IF NOT EXISTS reports (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,         -- pseudonym of a series
    version TEXT NOT NULL,      -- of its instances and the model
    series TEXT NOT NULL,       -- Series Instance UID of the report
    uid TEXT NOT NULL,
    former_series TEXT,         -- of the report that it replaces; NULL for the first one
    former_uid TEXT
);
CREATE INDEX IF NOT EXISTS report_name ON reports (name);
CREATE INDEX IF NOT EXISTS due ON results (state, due);
"""
_VERSION = 1
_REMEMBERED = 90 * 24 * 3600.0  # seconds


class Item(NamedTuple):
    """A result for a destination, and the numbers of failed attempts to send it and of rejections among them."""

    uid: str
    destination: str
    series: str
    kind: str
    attempts: int
    rejections: int = 0


class Report(NamedTuple):
    """The report of a version of a series: its own UIDs, and those of the report that it replaces, if there is one.

    UIDs are Series Instance UID and SOP Instance UID.
    """

    version: str
    series: str
    uid: str
    former: tuple[str, str] | None


class Counts(NamedTuple):
    """Numbers of results by state, and of series that were predicted, that failed, and that were left out."""

    queued: int
    sent: int
    dead: int
    predicted: int
    failed: int
    left_out: int


class Outbox:
    """The queue; its methods may be called from several threads and processes.

    Every change is on the disk when the method returns.

    Args:
        folder: Folder of the node.

    Raises:
        DataError: If the file cannot be opened, or is of a later release.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        file = folder / FILE_NAME
        try:
            self._base = sqlite3.connect(file, timeout=30, check_same_thread=False, isolation_level=None)
            with suppress(PermissionError):  # of another user, who may not read it
                file.chmod(0o600)
            try:
                self._prepare(file)
            except BaseException:
                self._base.close()
                raise
        except sqlite3.Error as error:
            raise DataError(f"expected a queue of results in '{file}', found one that cannot be used") from error

    def _prepare(self, file: Path) -> None:
        version = self._base.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise DataError(
                f"expected a queue of version {_VERSION} in '{file}', found version {version}; install a newer ctonnx"
            )
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = FULL")
        self._base.executescript(_SCHEMA)
        self._base.execute(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._base.close()

    def content_of(self, series: str) -> str | None:
        """Returns the hash of the instances that a series had when it was finished; None if it never was."""
        row = self._one("SELECT content FROM series WHERE name = ? AND content != ''", series)
        return None if row is None else str(row[0])

    def reopen(self, series: str) -> None:
        """Forgets what a series was finished with, so that it is predicted again."""
        with self._lock, self._transaction() as base:
            base.execute("UPDATE series SET content = '' WHERE name = ?", (series,))

    def note_removed(self, series: str) -> None:
        """Records that the instances with which a series was finished are not in the spool any more."""
        with self._lock, self._transaction() as base:
            base.execute("UPDATE series SET removed = COALESCE(removed, content) WHERE name = ?", (series,))

    def lacks_removed(self, series: str, content: str) -> bool:
        """Returns whether instances of a series were removed before, and its instances by now are not the same."""
        row = self._one("SELECT removed FROM series WHERE name = ?", series)
        return row is not None and row[0] is not None and row[0] != content

    def former_report(self, series: str, version: str) -> tuple[str, str] | None:
        """Returns the UIDs of the report that one of this version replaces: Series and SOP Instance UID; None for none.

        If the latest report is of this version, it is the one that was replaced by that: it is made again.
        """
        row = self._one(
            "SELECT version, series, uid, former_series, former_uid FROM reports WHERE name = ? "
            "ORDER BY number DESC LIMIT 1",
            series,
        )
        found = None if row is None else row[3:] if row[0] == version else row[1:3]
        return None if found is None or found[1] is None else (str(found[0]), str(found[1]))

    def start(self, series: str) -> None:
        """Counts the start of a prediction, until it is finished: one that ends the process is known at the next."""
        with self._lock, self._transaction() as base:
            base.execute(
                "INSERT INTO starts VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET count = count + 1", (series,)
            )

    def end(self, series: str) -> None:
        """Takes back the count of a start: the prediction did not finish, but did not end the process either."""
        with suppress(sqlite3.OperationalError), self._lock, self._transaction() as base:  # a full disk
            base.execute("UPDATE starts SET count = count - 1 WHERE name = ? AND count > 0", (series,))

    def starts(self) -> dict[str, int]:
        """Returns the number of predictions of each series that did not end."""
        return dict(self._all("SELECT name, count FROM starts"))

    def finish(
        self,
        series: str,
        content: str,
        instances: int,
        *,
        decision: str | None,
        error: str | None = None,
        results: Sequence[tuple[str, str]] = (),
        destinations: Sequence[str] = (),
        report: Report | None = None,
    ) -> None:
        """Records a series with its results, all or nothing; results that are there already are not sent again.

        Args:
            series: Pseudonym.
            content: Hash of its instances.
            instances: Number of its instances.
            decision: Decision about the series; None if it failed or was left out.
            error: Reason if it failed; None if it did not.
            results: UID and kind of each result, whose file is on the disk.
            destinations: Names of the destinations of each result.
            report: The report among them.
        """
        now = time.time()
        with self._lock, self._transaction() as base:
            base.execute(
                "INSERT INTO series VALUES (?, ?, ?, ?, ?, ?, NULL) ON CONFLICT (name) DO UPDATE SET "
                "content = excluded.content, finished = excluded.finished, instances = excluded.instances, "
                "decision = excluded.decision, error = excluded.error",
                (series, content, now, instances, decision, error),
            )
            base.execute("DELETE FROM starts WHERE name = ?", (series,))
            base.executemany(
                "INSERT INTO results VALUES (?, ?, ?, ?, 'queued', 0, 0, ?, ?, NULL) ON CONFLICT DO NOTHING",
                [(uid, place, series, kind, now, now) for uid, kind in results for place in destinations],
            )
            if report is not None:
                base.execute(
                    "INSERT INTO reports SELECT NULL, ?1, ?2, ?3, ?4, ?5, ?6 WHERE ?2 IS NOT "
                    "(SELECT version FROM reports WHERE name = ?1 ORDER BY number DESC LIMIT 1)",
                    (series, report.version, report.series, report.uid, *(report.former or (None, None))),
                )

    def due(self, limit: int, destination: str | None = None, *, other_than: Collection[str] = ()) -> list[Item]:
        """Returns the results to send now, the one that waits longest first.

        One whose last attempt is in the future is among them: the clock was set back, and it would wait as much longer.

        Args:
            limit: Maximum number.
            destination: Only those for this one; None for all.
            other_than: Destinations whose results are left out.
        """
        now = time.time()
        rows = self._all(
            "SELECT uid, destination, series, kind, attempts, rejections FROM results "
            "WHERE state = 'queued' AND (due <= ? OR changed > ?) AND destination = COALESCE(?, destination) "
            "AND destination NOT IN (SELECT value FROM json_each(?)) ORDER BY due, rowid LIMIT ?",
            now,
            now,
            destination,
            json.dumps(list(other_than)),
            limit,
        )
        return [Item(*row) for row in rows]

    def mark_sent(self, item: Item) -> None:
        """Records that a destination has a result."""
        self._change(item, "sent", due=0, error=None)

    def mark_failed(self, item: Item, error: str, *, wait: float | None, is_rejection: bool = False) -> None:
        """Records a failed attempt; the next one is after a number of seconds, or, with None, never."""
        state: State = "dead" if wait is None else "queued"
        self._change(item, state, due=time.time() + (wait or 0), error=error, rejections=int(is_rejection))

    def retry(self) -> int:
        """Queues all results again that are dead or wait for their next attempt; returns the number of dead ones."""
        with self._lock, self._transaction() as base:
            now = time.time()
            dead = base.execute(
                "UPDATE results SET state = 'queued', attempts = 0, rejections = 0, due = ?, changed = ? "
                "WHERE state = 'dead'",
                (now, now),
            ).rowcount
            base.execute("UPDATE results SET due = ? WHERE state = 'queued'", (now,))
            return dead

    def counts(self) -> Counts:
        """Returns the numbers of results and series."""
        states = dict(self._all("SELECT state, COUNT(*) FROM results GROUP BY state"))
        series = self._one(
            "SELECT COUNT(decision), COUNT(error), COUNT(*) - COUNT(COALESCE(decision, error)) FROM series "
            "WHERE content != ''"
        ) or (0, 0, 0)
        return Counts(states.get("queued", 0), states.get("sent", 0), states.get("dead", 0), *series)

    def unsent(self, limit: int) -> list[dict[str, Any]]:
        """Returns the results that no destination has yet, dead ones first, JSON-ready."""
        rows = self._all(
            "SELECT uid, destination, kind, state, attempts, due, error FROM results WHERE state != 'sent' "
            "ORDER BY state, due LIMIT ?",
            limit,
        )
        names = ("uid", "destination", "kind", "state", "attempts", "due", "error")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def is_needed(self, uid: str) -> bool:
        """Returns whether a result is still to be sent, or dead."""
        return self._one("SELECT 1 FROM results WHERE uid = ? AND state != 'sent' LIMIT 1", uid) is not None

    def touch(self, series: str) -> None:
        """Makes a finished series as new as one that is finished now, as its instances came again."""
        with self._lock, self._transaction() as base:
            base.execute("UPDATE series SET finished = ? WHERE name = ?", (time.time(), series))

    def forget(self, *, before: float, kept: Collection[str] = ()) -> None:
        """Removes the rows of results sent, and of series finished, before a time.

        The removal of a predicted series is known for 90 days more.

        Args:
            before: Time in seconds since the epoch.
            kept: Series whose instances are in the spool. Their rows stay, as those of series with a result that is
                not sent yet.
        """
        with self._lock, self._transaction() as base:
            base.execute("DELETE FROM results WHERE state = 'sent' AND changed < ?", (before,))
            old = base.execute(
                "SELECT name FROM series WHERE finished < ? AND (content != '' OR finished < ?) "
                "AND name NOT IN (SELECT series FROM results)",
                (before, before - _REMEMBERED),
            ).fetchall()
            names = [row for row in old if row[0] not in kept]
            base.executemany(
                "UPDATE series SET removed = COALESCE(removed, content), content = '' WHERE name = ?", names
            )
            base.executemany(
                "DELETE FROM series WHERE name = ? AND finished < ?",
                [(name, before - _REMEMBERED) for (name,) in names],
            )
            base.execute("DELETE FROM reports WHERE name NOT IN (SELECT name FROM series)")

    def _change(self, item: Item, state: State, *, due: float, error: str | None, rejections: int = 0) -> None:
        with self._lock, self._transaction() as base:
            base.execute(
                "UPDATE results SET state = ?, due = ?, error = ?, changed = ?, attempts = attempts + 1, "
                "rejections = rejections + ? WHERE uid = ? AND destination = ?",
                (state, due, error, time.time(), rejections, item.uid, item.destination),
            )

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._base)

    def _one(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        with self._lock, closing(self._base.execute(query, values)) as rows:
            found: tuple[Any, ...] | None = rows.fetchone()
            return found

    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock, closing(self._base.execute(query, values)) as rows:
            return rows.fetchall()


class _Transaction:
    """A transaction that also locks out other processes from its start on."""

    def __init__(self, base: sqlite3.Connection) -> None:
        self._base = base

    def __enter__(self) -> sqlite3.Connection:
        self._base.execute("BEGIN IMMEDIATE")
        return self._base

    def __exit__(self, kind: object, *rest: object) -> None:
        self._base.execute("COMMIT" if kind is None else "ROLLBACK")
