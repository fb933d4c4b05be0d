"""Sending to DICOM nodes and DICOMweb servers, with answers of every kind."""

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, MRImageStorage
from pynetdicom import AE, evt
from tests.runtime.server.pacs.builders import write_series
from tests.runtime.server.pacs.orthanc import free_port, missing_parts, running

from ctonnx.server.pacs.node.sender import DicomDestination, Outcome, WebDestination, wait_before_next
from ctonnx.server.pacs.node.settings import DicomPeer

# pynetdicom leaves sockets open that could not be connected.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
needs_orthanc = pytest.mark.skipif(missing_parts() is not None, reason=str(missing_parts()))


@contextmanager
def answering(*statuses: int, sop_class: str = CTImageStorage, title: str = "PACS") -> Iterator[DicomDestination]:
    """Yields a DICOM node that gives its answers in order."""
    left, entity = list(statuses), AE(ae_title=title)
    entity.add_supported_context(sop_class)
    entity.require_called_aet = True
    handlers: list[Any] = [(evt.EVT_C_STORE, lambda event: left.pop(0))]
    server: Any = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield DicomDestination(DicomPeer("PACS", "127.0.0.1", server.socket.getsockname()[1]), "CTONNX")
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0x0000, Outcome()),
        (0xB000, Outcome()),
        (0xB006, Outcome()),
        (0xB007, Outcome()),
        (0x0111, Outcome()),  # duplicate SOP instance
        (0xA700, Outcome("it answered with status A700")),
        (0xA7FF, Outcome("it answered with status A7FF")),
        (0xA900, Outcome("it answered with status A900", is_rejection=True)),
        (0xC000, Outcome("it answered with status C000", is_rejection=True)),
        (0x0124, Outcome("it answered with status 0124", is_rejection=True)),
    ],
)
def test_status_decides(tmp_path: Path, status: int, outcome: Outcome) -> None:
    with answering(status, 0) as destination:
        assert list(destination.send(write_series(tmp_path, 2))) == [outcome, Outcome()]


def test_kind_of_object_that_is_not_accepted_is_a_rejection(tmp_path: Path) -> None:
    with answering(sop_class=MRImageStorage) as destination:
        (outcome,) = destination.send(write_series(tmp_path, 1))
        assert outcome.error is not None


def test_rejected_association_is_tried_again(tmp_path: Path) -> None:
    with answering(title="OTHER") as destination:
        assert list(destination.send(write_series(tmp_path, 2))) == [Outcome("it rejected the association")] * 2


def test_peer_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    files = write_series(tmp_path, 2)
    destination = DicomDestination(DicomPeer("PACS", "127.0.0.1", free_port()), "CTONNX")
    assert list(destination.send(files)) == [Outcome("it cannot be reached")] * 2


@pytest.mark.parametrize("content", [b"", b"no DICOM" * 99])
def test_damaged_file_is_a_rejection_of_it_alone(tmp_path: Path, content: bytes) -> None:
    good, damaged = write_series(tmp_path, 2)
    damaged.write_bytes(content)
    unreadable = Outcome("its file is not one of DICOM: it was damaged", is_rejection=True)
    with answering(0) as destination:
        assert list(destination.send([damaged, good])) == [unreadable, Outcome()]
        assert list(destination.send([damaged])) == [unreadable]
    with web(200) as service:
        assert next(service.send([damaged])) == unreadable


def test_association_that_ends_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctonnx.server.pacs.node.sender._TIMEOUT", 1)  # until an end that goes unnoticed ends the wait
    files, entity = write_series(tmp_path, 2), AE(ae_title="PACS")
    entity.add_supported_context(CTImageStorage)

    def end(event: Any) -> int:
        event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        return 0

    handlers: list[Any] = [(evt.EVT_C_STORE, end)]
    server: Any = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    destination = DicomDestination(DicomPeer("PACS", "127.0.0.1", server.socket.getsockname()[1]), "CTONNX")
    first, second = destination.send(files)
    server.shutdown()
    assert {first.error, second.error} <= {"it did not answer", "the association ended"}
    assert not first.is_rejection


@contextmanager
def web(status: int, body: bytes = b"{}", kind: str = "application/dicom+json") -> Iterator[WebDestination]:
    """Yields a service that gives one answer to all requests; its `seen` are the headers of each."""
    seen: list[Any] = []

    class Service(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(self.headers)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def headers() -> dict[str, str]:
        return {"Authorization": f"Bearer {len(seen)}"}

    destination = WebDestination(f"http://127.0.0.1:{server.server_port}/dicom-web", headers)
    try:
        yield destination
        assert [one["Authorization"] for one in seen] == [f"Bearer {number}" for number in range(len(seen))]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


STORED = b'{"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}}]}}'
DUPLICATE = b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [273]}}]}}'
FAILED = b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]}}'


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, STORED, Outcome()),
        (202, STORED, Outcome()),
        (200, b"{}", Outcome("its answer does not name the object as stored", is_rejection=True)),
        (202, FAILED, Outcome("it did not store the object", is_rejection=True)),
        (400, b"", Outcome("it answered with HTTP status 400", is_rejection=True)),
        (401, b"", Outcome("it answered with HTTP status 401")),  # until the token is renewed
        (403, b"", Outcome("it answered with HTTP status 403")),
        (404, b"", Outcome("it answered with HTTP status 404")),
        (409, b"", Outcome("it answered with HTTP status 409", is_rejection=True)),
        (409, FAILED, Outcome("it answered with HTTP status 409", is_rejection=True)),
        (409, DUPLICATE, Outcome()),
        (202, DUPLICATE, Outcome()),
        (429, b"", Outcome("it answered with HTTP status 429")),
        (500, b"", Outcome("it answered with HTTP status 500")),
        (503, b"", Outcome("it answered with HTTP status 503")),
    ],
)
def test_http_status_decides(tmp_path: Path, status: int, body: bytes, outcome: Outcome) -> None:
    with web(status, body) as service:
        assert list(service.send(write_series(tmp_path, 2))) == [outcome] * 2


def test_answer_that_is_no_dicom_is_a_rejection(tmp_path: Path) -> None:
    with web(200, b"<html>a login page</html>", "text/html") as service:
        (outcome,) = service.send(write_series(tmp_path, 1))
    assert outcome == Outcome("its answer does not name the object as stored", is_rejection=True)


def test_answer_that_is_broken_is_a_rejection(tmp_path: Path) -> None:
    with web(200, b"{") as service:
        (outcome,) = service.send(write_series(tmp_path, 1))
    assert outcome.is_rejection
    assert outcome.error is not None
    assert outcome.error.startswith("it sent an answer that cannot be read (")


def test_service_that_is_not_there_is_tried_once_for_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    tried, post = list[str](), requests.Session.post

    def count(self: requests.Session, url: str, **options: Any) -> requests.Response:
        tried.append(url)
        return post(self, url, **options)

    monkeypatch.setattr(requests.Session, "post", count)
    destination = WebDestination(f"http://127.0.0.1:{free_port()}/dicom-web", dict)
    assert list(destination.send(write_series(tmp_path, 3))) == [Outcome("it cannot be reached")] * 3
    assert len(tried) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://user:SECRET@pacs/dicom-web",
        "https://SECRET@pacs/dicom-web",
        "https://pacs/dicom-web?token=SECRET",
        "https://pacs/dicom-web#SECRET",
        "ftp://SECRET",
        "SECRET",
    ],
)
def test_url_with_a_password_is_rejected_and_not_quoted(url: str) -> None:
    with pytest.raises(ValueError, match="expected a URL such as") as found:
        WebDestination(url, dict)
    assert "SECRET" not in str(found.value)


def test_netrc_does_not_replace_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with web(200, STORED) as service:  # which compares the token
        assert list(service.send(write_series(tmp_path / "scans", 1))) == [Outcome()]


def test_token_file_that_is_missing_is_tried_again(tmp_path: Path) -> None:
    def headers() -> dict[str, str]:
        return {"Authorization": (tmp_path / "token").read_text()}

    (outcome,) = WebDestination("http://127.0.0.1:9/dicom-web", headers).send(write_series(tmp_path / "scans", 1))
    assert outcome == Outcome("it cannot be reached")


@needs_orthanc
def test_orthanc_has_what_was_sent_by_both_ways(tmp_path: Path) -> None:
    first, second = write_series(tmp_path / "1", 2), write_series(tmp_path / "2", 2)
    with running(tmp_path / "orthanc") as server:
        assert list(DicomDestination(DicomPeer.parse(server.peer), "CTONNX").send(first)) == [Outcome()] * 2
        assert list(WebDestination(server.dicomweb, dict).send(second)) == [Outcome()] * 2
        assert list(WebDestination(server.dicomweb, dict).send(first)) == [Outcome()] * 2  # again: the same objects
        uids = {one["MainDicomTags"]["SOPInstanceUID"] for one in server.instances("CT")}
        assert uids == {file.stem for file in (*first, *second)}
        assert len(server.instances("CT")) == 4


def test_rejection_is_final_after_five_attempts_and_silence_never_is() -> None:
    rejected, silent = Outcome("no", is_rejection=True), Outcome("no")
    assert [wait_before_next(number, rejected, rejections=number) for number in range(1, 7)] == [
        5.0,
        10.0,
        20.0,
        40.0,
        None,
        None,
    ]
    assert wait_before_next(5000, silent, rejections=4) == 600.0
    assert wait_before_next(5000, rejected, rejections=1) == 600.0  # the first after an outage
