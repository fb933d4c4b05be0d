"""The load generator: bytes of the requests, statuses, and wrong responses."""

import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctonnx_bench.experiments.serving.load import Load, ask, requests_for


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            length = 0
            while (head := self.rfile.readline()) not in (b"\r\n", b""):
                length = int(head.split(b":")[1]) if head.lower().startswith(b"content-length") else length
            body = self.rfile.read(length)
            status = 503 if body == b"busy" else 200
            answer = json.dumps({"results": [{"label": body.decode()}], "asked": line.split()[0].decode()}).encode()
            self.wfile.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(answer)}\r\n\r\n".encode() + answer)


@pytest.fixture
def port() -> Iterator[int]:
    """A server that answers each upload with its own content as the label."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def bodies(tmp_path: Path) -> list[bytes]:
    for name in ("a", "b", "busy"):
        (tmp_path / name).write_text(name, encoding="ascii")
    return requests_for(sorted(tmp_path.iterdir()))


def test_every_response_is_counted(port: int, bodies: list[bytes]) -> None:
    load = Load.run(port, bodies, ["a", "b", "busy"], clients=4, requests=9)
    assert (dict(load.statuses), load.wrong, len(load.seconds)) == ({200: 6, 503: 3}, 0, 9)
    assert load.rate == pytest.approx(6 / load.elapsed)
    assert 0 < min(load.seconds) <= max(load.seconds) <= load.elapsed


def test_response_with_another_label_is_wrong(port: int, bodies: list[bytes]) -> None:
    assert Load.run(port, bodies, ["a", "x", "busy"], clients=1, requests=4).wrong == 1


def test_more_clients_than_requests_send_each_request_once(port: int, bodies: list[bytes]) -> None:
    assert len(Load.run(port, bodies, ["a", "b", "busy"], clients=5, requests=2).seconds) == 2


def test_single_request_returns_status_and_body(port: int) -> None:
    status, body = ask(port, b"GET / HTTP/1.1\r\n\r\n")
    assert (status, json.loads(body)["asked"]) == (200, "GET")
    with pytest.raises(OSError, match="refused"):
        ask(1, b"GET / HTTP/1.1\r\n\r\n")
