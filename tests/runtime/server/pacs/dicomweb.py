"""A DICOMweb server for tests: the files of a folder, with faults on request."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydicom import dcmread

__all__ = ["FakeServer", "serving"]

_BOUNDARY = "part-of-a-test"


class FakeServer:
    """Answers QIDO-RS for series and WADO-RS for metadata and instances.

    Attributes:
        files: Files that it has.
        answers: Status, content type and body of an answer, by the end of the path; they replace the usual ones.
        page: Maximum number of series in an answer.
        requests: Paths of all requests, and their headers.
        before: Called with the path before each answer; an exception ends the connection without one.
        close: Ends it: nothing listens there any more.
    """

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.answers: dict[str, tuple[int, str, bytes]] = {}
        self.page = 1000
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.before: Callable[[str], object] = lambda path: None
        self.close: Callable[[], object] = lambda: None
        self.url = ""

    def answer(self, target: str, headers: dict[str, str]) -> tuple[int, str, bytes]:
        """Returns the status, the content type and the body for a request."""
        path, query = urlsplit(target).path.removeprefix("/dicom-web"), parse_qs(urlsplit(target).query)
        self.requests.append((path, headers))
        self.before(path)
        for end, answer in self.answers.items():
            if path.endswith(end):
                return answer
        words = path.strip("/").split("/")
        if words[4:5] == ["instances"]:
            (found,) = (file for file in self.files if _uid_of(file, file.stat().st_mtime_ns) == words[5])
            head = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            kind = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
            return 200, kind, head + found.read_bytes() + f"\r\n--{_BOUNDARY}--\r\n".encode()
        images = [dcmread(file) for file in self.files]
        images = [one for one in images if one.StudyInstanceUID == words[1]]
        if words[2:] == ["series"]:
            series = {
                one.SeriesInstanceUID: {
                    "0020000E": {"vr": "UI", "Value": [one.SeriesInstanceUID]},
                    "00080060": {"vr": "CS", "Value": [one.Modality]},
                }
                for one in images
            }
            offset = int(query.get("offset", ["0"])[0])
            return _json(list(series.values())[offset : offset + self.page])
        images = [one for one in images if one.SeriesInstanceUID == words[3]]
        assert words[4:] == ["metadata"]
        for one in images:
            del one.PixelData
        return _json([one.to_json_dict() for one in images])


@cache
def _uid_of(file: Path, changed_ns: int) -> str:
    """Returns the UID of a file's instance, which is read again only after a change of the file."""
    return str(dcmread(file, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


def _json(value: Any) -> tuple[int, str, bytes]:
    return 200, "application/dicom+json", json.dumps(value).encode()


@contextmanager
def serving(files: list[Path]) -> Iterator[FakeServer]:
    """Yields a server on a free loopback port."""
    fake = FakeServer(files)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, kind, body = fake.answer(self.path, dict(self.headers))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    def close() -> None:
        server.shutdown()
        server.server_close()

    with Server(("127.0.0.1", 0), Handler) as server:
        fake.close = close
        server.daemon_threads = True
        fake.url = f"http://127.0.0.1:{server.server_port}/dicom-web"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
