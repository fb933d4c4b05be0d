"""Bodies within limits of bytes and time; the files of a multipart body, in memory alone.

Nothing is ever written to a disk, names that clients give their files go back in the answer alone, and all bodies and
answers that are held at a time share a quarter of the process's memory.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from ctonnx.server.file_names import file_name
from ctonnx.server.refusals import Refusal, shown
from ctonnx.server.settings import Limits

__all__ = ["Files", "Room", "Take", "file_reader", "receive"]

_CURLS_OWN = "application/x-www-form-urlencoded"  # with --data-binary
_RAW = ("application/octet-stream", "application/dicom")
_MOST_DISCARDED = 64 << 20  # bytes of a body that is too large are still taken, so that its client reads the answer
_DISCARD_SECONDS = 10.0

Take: TypeAlias = Callable[[int], None]
"""Takes room for so many bytes more."""


class Room:
    """The memory that bodies and answers take, over all requests of an event loop.

    Args:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0

    @contextmanager
    def held(self) -> Iterator[Take]:
        """Yields what takes room for so many bytes more, all of which is given back when the block ends.

        What it yields raises a Refusal where there is no more.
        """
        own = 0

        def take(count: int) -> None:
            nonlocal own
            if self.taken + count > self._most:
                raise Refusal(503, "too much memory is taken by other requests; try again soon", {"Retry-After": "1"})
            own += count
            self.taken += count

        try:
            yield take
        finally:
            self.taken -= own


async def receive(request: Request, add: Callable[[bytes], object], limits: Limits, take: Take) -> None:
    """Receives a request's body.

    Args:
        request: whose body was not touched.
        add: called with each piece.
        limits: of the body's bytes and seconds.
        take: of `Room.held`.

    Raises:
        Refusal: it is too large, too slow, cut off, encoded, or there is no room.
        ClientDisconnect: the client has gone.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "expected a body without Content-Encoding, found one with it; send it uncompressed")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.body_bytes:
        await _discard(request)
        raise _too_large(limits)
    received = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for piece in request.stream():
                take(len(piece))
                received += len(piece)
                if received > limits.body_bytes:
                    await _discard(request)
                    raise _too_large(limits)
                add(piece)
    except TimeoutError:
        raise Refusal(
            408,
            f"expected the whole body within {limits.body_seconds:g} s, found it unfinished",
            {"Connection": "close"},
        ) from None


def _too_large(limits: Limits) -> Refusal:
    return Refusal(
        413,
        f"expected a body of at most {limits.body_bytes} bytes, found a larger one; send fewer files at a time, or "
        "raise the server's --max-body-mb",
        {"Connection": "close"},
    )


async def _discard(request: Request) -> None:
    """Takes what else a client sends, within bounds: most clients read no answer before they have sent all."""
    if "expect" in request.headers:
        return  # this one waits for leave to send
    left = _MOST_DISCARDED
    try:
        async with asyncio.timeout(_DISCARD_SECONDS):
            while left > 0:
                message = await request.receive()
                left -= len(message.get("body", b""))
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


class Files:
    """The files of a body, as they come in.

    Attributes:
        contents: of each file, in order; complete when `finish` was called.
        names: of each file, as `ctonnx.server.file_names` shows it; None where its client gave none.
    """

    def __init__(self) -> None:
        self.contents: list[bytes] = []
        self.names: list[str | None] = []
        self._file_name: str | None = None
        self._content = bytearray()  # no list, which many tiny pieces would make large

    def add(self, piece: bytes) -> None:
        """Takes the next piece of the body."""
        self._content += piece

    def finish(self) -> None:
        """Ends the body.

        Raises:
            Refusal: it holds no file, or is cut off.
        """
        if not self._content:
            raise Refusal(400, "expected an image, found an empty file (0 bytes)")
        self._keep()

    def _keep(self) -> None:
        self.contents.append(bytes(self._content))
        self.names.append(self._file_name or None)
        self._content = bytearray()


class _Multipart(Files):
    """The parts of a multipart body, each of which is a file."""

    def __init__(self, boundary: bytes, most_files: int) -> None:
        super().__init__()
        self._most_files = most_files
        self._field = self._value = b""
        self._is_file = self._is_whole = False
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._name,
            "on_header_value": self._said,
            "on_header_end": self._header,
            "on_headers_finished": self._headers,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._whole,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError as error:
            raise _malformed() from error

    def add(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _malformed() from error

    def finish(self) -> None:
        if not self._is_whole:
            raise _malformed()
        if not self.contents:
            raise Refusal(400, "expected files in the multipart body, found none")

    def _begin(self) -> None:
        if len(self.contents) == self._most_files:
            raise Refusal(413, f"expected at most {self._most_files} files, found more; send them in several requests")
        self._field = self._value = b""
        self._file_name, self._is_file = None, False

    def _name(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _said(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        field = self._field.lower()
        if field == b"content-disposition":
            self._file_name = file_name(self._value)
            self._is_file = self._is_file or self._file_name is not None
        elif field == b"content-type":  # which some clients give instead of a name
            kind, _ = parse_options_header(self._value)
            self._is_file = self._is_file or _holds_a_file(kind.decode("latin-1"))
        self._field = self._value = b""

    def _headers(self) -> None:
        if not self._is_file:
            raise Refusal(
                400, "expected parts that are files, found a form field; options go into the address: ?heatmap=true"
            )

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _end(self) -> None:
        self._keep()

    def _whole(self) -> None:
        self._is_whole = True


def file_reader(content_type: str, most_files: int) -> Files:
    """Returns what takes a body of a content type apart.

    Args:
        content_type: of the request's header.
        most_files: that a multipart body may hold.

    Raises:
        Refusal: of another type than images have, or multipart without a boundary.
    """
    kind, options = parse_options_header(content_type)
    name = kind.decode("latin-1").lower()
    if name == "multipart/form-data":
        if not (boundary := options.get(b"boundary")):
            raise Refusal(400, "expected a boundary in the Content-Type of a multipart body, found none")
        return _Multipart(boundary, most_files)
    if _holds_a_file(name):
        return Files()
    raise Refusal(
        415,
        "expected a Content-Type of multipart/form-data, image/*, application/dicom or application/octet-stream, found "
        f"{shown(name) if name else 'none'}"
        + ('; with curl, add -H "Content-Type: image/png"' if name == _CURLS_OWN else ""),
    )


def _holds_a_file(kind: str) -> bool:
    return kind.startswith("image/") or kind in _RAW


def _malformed() -> Refusal:
    return Refusal(400, "expected a whole multipart body, found one that is malformed or cut off")
