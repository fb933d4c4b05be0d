"""The files of a multipart body, parsed as it arrives, in memory alone."""

from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ctonnx.server.transport.errors import RequestError, shown
from ctonnx.server.transport.file_names import file_name

__all__ = ["Files", "file_reader"]


_CURLS_OWN = "application/x-www-form-urlencoded"  # with --data-binary
_RAW = ("application/octet-stream", "application/dicom")


class Files:
    """The files of a body, as they come in.

    Attributes:
        contents: of each file, in order; complete when `finish` was called.
        names: of each file, as `ctonnx.server.transport.file_names` shows it; None where its client gave none.
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
            raise RequestError(400, "expected an image, found an empty file (0 bytes)")
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
            raise RequestError(400, "expected files in the multipart body, found none")

    def _begin(self) -> None:
        if len(self.contents) == self._most_files:
            raise RequestError(
                413, f"expected at most {self._most_files} files, found more; send them in several requests"
            )
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
            raise RequestError(
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
            raise RequestError(400, "expected a boundary in the Content-Type of a multipart body, found none")
        return _Multipart(boundary, most_files)
    if _holds_a_file(name):
        return Files()
    raise RequestError(
        415,
        "expected a Content-Type of multipart/form-data, image/*, application/dicom or application/octet-stream, found "
        f"{shown(name) if name else 'none'}"
        + ('; with curl, add -H "Content-Type: image/png"' if name == _CURLS_OWN else ""),
    )


def _holds_a_file(kind: str) -> bool:
    return kind.startswith("image/") or kind in _RAW


def _malformed() -> RequestError:
    return RequestError(400, "expected a whole multipart body, found one that is malformed or cut off")
