"""The journal of a run: which batches and files are in progress, and how often their process ended.

A process that the system ends leaves no error: it was killed, out of memory, or a decoder crashed. Ray repeats its
batch in a new process, and would do so for ever if a file of the batch is the reason. Every batch is noted here when it
begins and when it ends. One that begins again is predicted file by file, and a file that began twice without an end
gets a failure.
"""

import time
from collections import Counter
from dataclasses import dataclass

__all__ = ["MOST_ATTEMPTS", "Journal", "Report"]

MOST_ATTEMPTS = 2
"""Number of times that a file of a repeated batch is begun."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run's journal has noted.

    Attributes:
        actors: Number of processes that opened the model, of actors and of those that replaced them.
        repeated: Number of batches that began more than once.
        unread: Number of times that a file was read again, as it could not be opened.
        given_up: Number of files whose process ended each time.
        began: Time of the first batch in seconds (`time.monotonic` of this machine); None if there was none.
    """

    actors: int
    repeated: int
    unread: int
    given_up: int
    began: float | None


class Journal:
    """Notes beginnings and ends; an actor of Ray, which the actors with the model call."""

    def __init__(self) -> None:
        self._attempts: Counter[tuple[int, str | None]] = Counter()
        self._actors = self._repeated = self._unread = self._given_up = 0
        self._began: float | None = None

    def opened(self) -> None:
        """Notes that a process has opened the model."""
        self._actors += 1

    def begin(self, batch: int, path: str | None = None) -> int:
        """Notes that a batch, or one of its files, begins; returns how often it has begun."""
        if self._began is None:
            self._began = time.monotonic()
        self._attempts[batch, path] += 1
        count = self._attempts[batch, path]
        if path is None and count == 2:
            self._repeated += 1
        if path is not None and count == MOST_ATTEMPTS + 1:
            self._given_up += 1
        return count

    def end(self, batch: int, path: str | None = None, *, unread: int = 0) -> None:
        """Notes that a batch, or one of its files, ended, and how many of its files were read again."""
        if path is None:
            for key in [key for key in self._attempts if key[0] == batch]:
                del self._attempts[key]
        self._attempts.pop((batch, path), None)
        self._unread += unread

    def report(self) -> Report:
        """Returns what was noted."""
        return Report(
            actors=self._actors,
            repeated=self._repeated,
            unread=self._unread,
            given_up=self._given_up,
            began=self._began,
        )
