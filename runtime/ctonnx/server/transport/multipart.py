"""Files of a body, parsed in memory as it arrives: one raw file, or the parts of a multipart body."""

from collections.abc import Callable
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ctonnx.server.transport.errors import RequestError, bad_request, short
from ctonnx.server.transport.file_names import file_name

__all__ = ["Files", "file_reader"]

_CURL_DEFAULT = "application/x-www-form-urlencoded"  # of --data-binary
_RAW = ("application/octet-stream", "application/dicom")


class Files:
    """Files of a body.

    Attributes:
        contents: Content of each file, in order; complete after `finish`.
        names: Name of each file, from `ctonnx.server.transport.file_names`; None if the client sent none.
    """

    def __init__(self) -> None:
        self.contents: list[bytes] = []
        self.names: list[str | None] = []
        self._file_name: str | None = None
        self._content = bytearray()  # not a list, which would be large for many small pieces

    def add(self, piece: bytes) -> None:
        """Adds the next piece of the body."""
        self._content += piece

    def finish(self) -> None:
        """Ends the body.

        Raises:
            RequestError: If the body contains no file or is truncated.
        """
        if not self._content:
            raise bad_request("an image", "an empty file (0 bytes)")
        self._keep()

    def _keep(self) -> None:
        self.contents.append(bytes(self._content))
        self.names.append(self._file_name or None)
        self._content.clear()


class _Multipart(Files):
    """Files in the parts of a multipart body."""

    def __init__(self, boundary: bytes, max_files: int) -> None:
        super().__init__()
        self._max_files = max_files
        self._field, self._value = bytearray(), bytearray()
        self._is_file = self._is_complete = False
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": _adder(self._field),
            "on_header_value": _adder(self._value),
            "on_header_end": self._end_header,
            "on_headers_finished": self._check_headers,
            "on_part_data": _adder(self._content),
            "on_part_end": self._keep,
            "on_end": self._complete,
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
        if not self._is_complete:
            raise _malformed()
        if not self.contents:
            raise bad_request("files in the multipart body", "none")

    def _begin(self) -> None:
        if len(self.contents) == self._max_files:
            message = f"expected at most {self._max_files} files, found more; send them in several requests"
            raise RequestError(413, message)
        self._file_name, self._is_file = None, False

    def _end_header(self) -> None:
        field, value = bytes(self._field).lower(), bytes(self._value)
        if field == b"content-disposition":
            self._file_name = file_name(value)
            self._is_file = self._is_file or self._file_name is not None
        elif field == b"content-type":  # some clients send it instead of a name
            kind, _ = parse_options_header(value)
            self._is_file = self._is_file or _is_file_type(kind.decode("latin-1"))
        self._field.clear()
        self._value.clear()

    def _check_headers(self) -> None:
        if not self._is_file:
            raise bad_request("only files as parts", "a form field; set options in the address: ?heatmap=true")

    def _complete(self) -> None:
        self._is_complete = True


def file_reader(content_type: str, max_files: int) -> Files:
    """Returns the reader for a body, which has at most `max_files` parts.

    Raises:
        RequestError: If images cannot have the type, or it is multipart without a boundary.
    """
    kind, options = parse_options_header(content_type)
    name = kind.decode("latin-1").lower()
    if name == "multipart/form-data":
        if not (boundary := options.get(b"boundary")):
            raise bad_request("a boundary in the Content-Type of a multipart body", "none")
        return _Multipart(boundary, max_files)
    if _is_file_type(name):
        return Files()
    expected = "expected a Content-Type of multipart/form-data, image/*, application/dicom or application/octet-stream"
    hint = '; with curl, add -H "Content-Type: image/png"' if name == _CURL_DEFAULT else ""
    raise RequestError(415, f"{expected}, found {short(name) if name else 'none'}{hint}")


def _adder(buffer: bytearray) -> Callable[[bytes, int, int], None]:
    return lambda data, start, end: buffer.extend(data[start:end])


def _is_file_type(kind: str) -> bool:
    return kind.startswith("image/") or kind in _RAW


def _malformed() -> RequestError:
    return bad_request("a complete multipart body", "a malformed or truncated one")
