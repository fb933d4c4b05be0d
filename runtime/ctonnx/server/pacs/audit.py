"""The node's audit log: a JSON line for each association, instance and result, chained by hashes.

Each line has the hash of the one before it, under the site's key: a line that was changed, removed or added shows. The
last hash is kept in a file of its own, so that lines removed from the end show, too. Nothing of a patient is in a line:
UIDs are pseudonyms under the same key.

Source: Schneier and Kelsey 1999, https://doi.org/10.1145/317087.317089 (hash chains of audit logs).
"""

import errno
import hashlib
import hmac
import json
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["AuditLog", "Verified", "audit_lines", "verify_audit"]

FILE_NAME = "audit.jsonl"
HEAD_NAME = "audit.head"
_EARLIER = "audit.*.jsonl"
_FIRST = "0" * 64
_LONGEST = 65_536  # bytes of a line


class AuditLog:
    """Appends lines to the log.

    Args:
        folder: Folder of the log; it exists.
        key: The site's key.
        rotate: Size in bytes at which a new file begins; earlier ones are `audit.1.jsonl`, the oldest, and so on.

    Raises:
        OSError: If the log cannot be read or written.
    """

    def __init__(self, folder: Path, key: bytes, *, rotate: int = 16_000_000) -> None:
        self._folder, self._key, self._rotate = folder, key, rotate
        self._lock = threading.Lock()
        self._file = folder / FILE_NAME
        cut = _remove_cut_line(self._file)
        self._number, self._hash = 0, _FIRST
        for line in audit_lines(folder):
            self._number += 1
            last = line
        if self._number:
            self._hash = _hash_of(key, last)
        kept = _kept(folder)
        self._out, self._head = self._open()
        if cut or (kept is not None and kept[0] > self._number):
            lost = max(0, kept[0] - self._number) if kept else None
            self.append("recovered", lines_lost=lost)

    def append(self, event: str, **values: Any) -> None:
        """Appends a line; the values are JSON-ready, and have nothing of a patient.

        Raises:
            OSError: If the log was closed, or the disk is full; the log then is as before.
        """
        with self._lock:
            number = self._number + 1
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            line = json.dumps(
                {"number": number, "time": now, "event": event, **values, "previous": self._hash},
                ensure_ascii=True,
            )
            self._write(line.encode() + b"\n")
            self._number = number
            self._hash = _hash_of(self._key, line)
            os.pwrite(self._head, f"{self._number:020d} {self._hash}\n".encode(), 0)
            if os.fstat(self._out).st_size >= self._rotate:
                self._start_next_file()

    def close(self) -> None:
        """Writes everything to the disk and closes the files."""
        with self._lock:
            self._sync_and_close()

    def _write(self, line: bytes) -> None:
        before = os.fstat(self._out).st_size
        try:
            if os.write(self._out, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(self._out, before)
            raise

    def _open(self) -> tuple[int, int]:
        flags = os.O_WRONLY | os.O_CREAT
        return os.open(self._file, flags | os.O_APPEND, 0o600), os.open(self._folder / HEAD_NAME, flags, 0o600)

    def _start_next_file(self) -> None:
        self._sync_and_close()
        number = 1 + max((_place(file) for file in self._folder.glob(_EARLIER)), default=0)
        self._file.rename(self._folder / _EARLIER.replace("*", str(number)))
        self._out, self._head = self._open()

    def _sync_and_close(self) -> None:
        for handle in (self._out, self._head):
            with suppress(OSError):  # a full disk
                os.fsync(handle)
            os.close(handle)
        self._out = self._head = -1  # a number that the system gives to no other file


class Verified(NamedTuple):
    """Result of `verify_audit`: the number of lines, and a sentence for the first fault; None if there is none."""

    lines: int
    fault: str | None


def verify_audit(folder: Path, key: bytes) -> Verified:
    """Compares each line of the log with the hash in the next one, and the last with the kept hash."""
    kept = _kept(folder)
    previous, count = _FIRST, 0
    for line in audit_lines(folder):
        if kept is not None and kept[0] == count and not hmac.compare_digest(kept[1], previous):
            return Verified(count, f"line {count} was changed")
        count += 1
        try:
            found = json.loads(line)
            number, before = int(found["number"]), str(found["previous"])
        except (ValueError, TypeError, KeyError):
            return Verified(count, f"line {count} is not one of the log: it was changed, or cut by a power failure")
        if number != count:
            return Verified(count, f"expected line {count}, found line {number}: lines were removed, added or moved")
        if not hmac.compare_digest(before, previous):
            return Verified(count, f"line {count - 1} was changed, or lines around it removed")
        previous = _hash_of(key, line)
    if kept is None:
        fault = f"'{HEAD_NAME}' is missing or damaged: lines after {count} may have been removed" if count else None
        return Verified(count, fault)
    if kept[0] > count:
        return Verified(count, f"expected {kept[0]} lines, found {count}: the last ones were removed, or lost")
    if kept[0] == count and not hmac.compare_digest(kept[1], previous):
        return Verified(count, f"line {count}, the last one, was changed")
    return Verified(count, None)


def _kept(folder: Path) -> tuple[int, str] | None:
    """Returns the kept number and hash of the last line; a kill may leave those of the line before it."""
    try:
        number, kept = (folder / HEAD_NAME).read_text(encoding="ascii").split()
        return int(number), kept
    except (OSError, ValueError):
        return None


def _remove_cut_line(file: Path) -> bool:
    """Removes a last line without an end, which a power failure cut; returns whether there was one."""
    try:
        with file.open("rb+") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _LONGEST))
            tail = log.read()
            if not tail or tail.endswith(b"\n"):
                return False
            log.truncate(size - len(tail) + tail.rfind(b"\n") + 1)
            return True
    except FileNotFoundError:
        return False


def audit_lines(folder: Path) -> Iterator[str]:
    """Yields the lines of a log, the oldest first."""
    for file in (*sorted(folder.glob(_EARLIER), key=_place), folder / FILE_NAME):
        with suppress(FileNotFoundError), file.open(encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                yield line.rstrip("\n")


def _place(file: Path) -> int:
    middle = file.name.split(".")[1]
    return int(middle) if middle.isdigit() else 0


def _hash_of(key: bytes, line: str) -> str:
    return hmac.new(key, line.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()
