"""The node's audit log: a JSON line for each association, instance and result, chained by hashes.

Each line has a hash of itself and that of the one before it, under the site's key: a line that was changed, removed or
added shows. The number of lines is kept in a file of its own with another hash under the key, which no line has: lines
removed from the end show, too. A start compares the two, and records what does not agree: `recovered` for lines that
are missing at the end, `tampered` for what neither a kill nor a power failure leaves. Nothing of a patient is in a
line: UIDs are pseudonyms under the same key.

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

from ctonnx.prediction.series.pseudonyms import Pseudonyms

__all__ = [
    "AuditLog",
    "Verified",
    "audit_lines",
    "open_site_key",
    "read_site_key",
    "recovered_lines",
    "verify_audit",
]

FILE_NAME = "audit.jsonl"
HEAD_NAME = "audit.head"
KEY_NAME = "site.key"
_EARLIER = "audit.*.jsonl"
_FIRST = "0" * 64
_LONGEST = 65_536  # bytes of a line
_OWN = ', "hash": "'  # before a line's own hash, its last value
_RECOVERED, _TAMPERED = "recovered", "tampered"


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
        kept = _kept(folder)
        self._number, last, at_kept = 0, "", _FIRST
        for line in audit_lines(folder):
            self._number, last = self._number + 1, line
            if kept is not None and self._number == kept[0]:
                at_kept = _hash_of(key, line)
        self._hash = _hash_of(key, last) if self._number else _FIRST
        self._out, self._head = self._open()
        is_other = kept is not None and kept[0] <= self._number and not _is_head(key, kept, at_kept)
        if is_other or (self._number and not _is_own(key, last)):
            self.append(_TAMPERED)
        elif cut or (kept is None and self._number) or (kept is not None and kept[0] > self._number):
            lost = max(0, kept[0] - self._number) if kept else None
            self.append(_RECOVERED, lines_lost=lost)

    def append(self, event: str, **values: Any) -> None:
        """Appends a line; the values are JSON-ready, and have nothing of a patient.

        Raises:
            OSError: If the log was closed, or the disk is full; the log then is as before.
        """
        with self._lock:
            number = self._number + 1
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            text = json.dumps(
                {"number": number, "time": now, "event": event, **values, "previous": self._hash},
                ensure_ascii=True,
            )
            own = _hash_of(self._key, text)
            self._write(f'{text[:-1]}{_OWN}{own}"}}\n'.encode())
            self._number, self._hash = number, own
            os.pwrite(self._head, f"{number:020d} {_head_of(self._key, number, own)}\n".encode(), 0)
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
    """Compares each line of the log with its own hash and that in the next one, and their number with the kept one."""
    kept = _kept(folder)
    previous, count = _FIRST, 0
    for line in audit_lines(folder):
        if kept is not None and kept[0] == count and not _is_head(key, kept, previous):
            return Verified(count, f"'{HEAD_NAME}' was changed, or lines around line {count} were")
        count += 1
        try:
            found = json.loads(line)
            number, before, event = int(found["number"]), str(found["previous"]), str(found["event"])
        except (ValueError, TypeError, KeyError):
            return Verified(count, f"line {count} is not one of the log: it was changed, or cut by a power failure")
        if number != count:
            return Verified(count, f"expected line {count}, found line {number}: lines were removed, added or moved")
        if not _is_own(key, line):
            return Verified(count, f"line {count} was changed")
        if not _is_equal(before, previous):
            return Verified(count, f"line {count - 1} was changed, or lines around it removed")
        if event == _TAMPERED:
            return Verified(count, f"line {count} records that a start found lines before it changed or removed")
        previous = _hash_of(key, line)
    if kept is None:
        fault = f"'{HEAD_NAME}' is missing or damaged: lines after {count} may have been removed" if count else None
        return Verified(count, fault)
    if kept[0] > count:
        return Verified(count, f"expected {kept[0]} lines, found {count}: the last ones were removed, or lost")
    if kept[0] == count and not _is_head(key, kept, previous):
        return Verified(count, f"'{HEAD_NAME}' was changed: lines after {count} may have been removed")
    return Verified(count, None)


def recovered_lines(folder: Path) -> list[tuple[int, int | None]]:
    """Returns the numbers of the lines of a recovery, and how many lines had been lost; None if that is unknown."""
    found = []
    for number, line in enumerate(audit_lines(folder), start=1):
        with suppress(ValueError, TypeError, AttributeError):
            values = json.loads(line)
            if values.get("event") == _RECOVERED:
                lost = values.get("lines_lost")
                found.append((number, None if lost is None else int(lost)))
    return found


def _kept(folder: Path) -> tuple[int, str] | None:
    """Returns the kept number of lines and its hash; a kill may leave those of the line before the last."""
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
    """Returns the hash of a line, with or without its own hash."""
    before, found, _ = line.rpartition(_OWN)
    return _mac(key, before + "}" if found else line)


def _is_own(key: bytes, line: str) -> bool:
    """Returns whether a line ends in its own hash."""
    return _is_equal(line.rpartition(_OWN)[2], _hash_of(key, line) + '"}')


def _head_of(key: bytes, number: int, last: str) -> str:
    """Returns the hash that is kept with the number of lines; no text of a line begins like this one."""
    return _mac(key, f"head {number} {last}")


def _is_head(key: bytes, kept: tuple[int, str], last: str) -> bool:
    return _is_equal(kept[1], _head_of(key, kept[0], last))


def _is_equal(first: str, second: str) -> bool:
    return hmac.compare_digest(first.encode("utf-8", "surrogatepass"), second.encode())


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def open_site_key(folder: Path) -> bytes:
    """Returns the key of the node's pseudonyms and audit log, which is made in its folder if missing.

    Raises:
        DataError: If the file is not a key.
        OSError: If it cannot be written.
    """
    file = folder / KEY_NAME
    if not file.exists():
        Pseudonyms().save(file)
    return read_site_key(folder)


def read_site_key(folder: Path) -> bytes:
    """Returns the key of a node that was started before.

    Raises:
        DataError: If there is none, or the file is not a key.
    """
    return Pseudonyms.load(folder / KEY_NAME).key
