"""Iterates over the fields of a protobuf message in a file and reads only the requested ones.

A message is a sequence of fields, each with a number, a type and usually a length
(https://protobuf.dev/programming-guides/encoding/), so that the weights of an ONNX model can be skipped.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ctonnx.system.file_reading import opened

__all__ = ["Field", "Message", "message"]

_WINDOW = 1 << 14  # bytes that are read at a time
_FIXED = {1: 8, 5: 4}  # bytes of the types of fixed length


class Field(NamedTuple):
    """A field of a message.

    Attributes:
        number: Number of the field in the message's schema.
        begin: Offset of the field in the file.
        start: Offset of its content; for an integer, the same as `stop`.
        stop: Offset of the next field.
        value: Value of an integer; None for any other type.
    """

    number: int
    begin: int
    start: int
    stop: int
    value: int | None

    @property
    def size(self) -> int:
        """Size of the content in bytes."""
        return self.stop - self.start


class Message:
    """The fields of one message and their contents, from `start` to `stop` in a file.

    `window` is the first bytes of the message, if already read.
    """

    def __init__(self, file: BinaryIO, start: int, stop: int, window: bytes = b"") -> None:
        self._file, self.start, self.stop = file, start, stop
        self._window, self._at = window, start

    def __iter__(self) -> Iterator[Field]:
        """Yields all fields, as `only` does."""
        return self.only()

    def only(self, *wanted: int) -> Iterator[Field]:
        """Yields the fields with these numbers, or all fields if none is given.

        Raises:
            ValueError: If the bytes are not a message, or end too early.
        """
        place, stop = self.start, self.stop
        while place < stop:
            begin = place
            tag, place = self._varint(place)
            number, kind = tag >> 3, tag & 7
            if kind == 2:
                length, place = self._varint(place)
            elif kind == 0:
                value, place = self._varint(place)
                if not wanted or number in wanted:
                    yield Field(number, begin, place, place, value)
                continue
            else:
                length = _FIXED.get(kind, -1)
            if not 0 <= length <= stop - place:
                raise _other()
            if not wanted or number in wanted:
                yield Field(number, begin, place, place + length, None)
            place += length

    def inner(self, field: Field) -> "Message":
        """Returns the message in a field; a small one is read at once."""
        if field.value is not None:
            raise _other()
        window = self.content(field) if field.size <= _WINDOW else b""
        return Message(self._file, field.start, field.stop, window)

    def content(self, field: Field) -> bytes:
        """Returns the bytes of a field that is not an integer."""
        return self._take(field.start, field.size)

    def text(self, field: Field) -> str:
        """Returns the text of a field."""
        return self.content(field).decode()

    def numbers(self, field: Field) -> list[int]:
        """Returns the signed integers of a repeated field: one, or all if they are packed."""
        if field.value is not None:
            return [_signed(field.value)]
        place, found = field.start, []
        while place < field.stop:
            value, place = self._varint(place)
            found.append(_signed(value))
        return found

    def _take(self, place: int, count: int) -> bytes:
        start = place - self._at
        if start < 0 or start + count > len(self._window):
            self._file.seek(place)
            self._window, self._at = self._file.read(max(count, min(_WINDOW, self.stop - place))), place
            start = 0
        found = self._window[start : start + count]
        if len(found) < count:
            raise _other()
        return found

    def _varint(self, place: int) -> tuple[int, int]:
        """Returns an integer and the offset of its end."""
        start, window = place - self._at, self._window
        if 0 <= start < len(window) and (byte := window[start]) < 0x80:  # nearly always
            return byte, place + 1
        value = 0
        for position, byte in enumerate(self._take(place, min(10, self.stop - place))):
            value |= (byte & 0x7F) << 7 * position
            if byte < 0x80:
                return value, place + position + 1
        raise _other()


@contextmanager
def message(source: Path | bytes) -> Iterator[Message]:
    """Opens the message in a file, or in bytes.

    Raises:
        OSError: The file cannot be opened.
    """
    with opened(source) if isinstance(source, Path) else io.BytesIO(source) as file:
        yield Message(file, 0, file.seek(0, os.SEEK_END))


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _other() -> ValueError:
    return ValueError("expected an ONNX file, found other bytes or an end before the end")
