"""Connections: clients that send no head, invalid HTTP, or more after the response."""

import socket
import time

import numpy as np
import pytest
from tests.runtime.server.conftest import Server, encoded, multipart

from ctonnx.server.transport import connection as module
from ctonnx.server.transport.middleware import HEADERS


def receive(connection: socket.socket) -> bytes:
    """Reads a response to its end."""
    response = b""
    while not response.endswith(b"}"):
        response += connection.recv(10_000)
    return response


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.15)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_incomplete_head_times_out(sent: bytes, server: Server) -> None:
    with server.raw() as connection:
        connection.sendall(sent)
        start = time.monotonic()
        assert connection.recv(100) == b""
        assert time.monotonic() - start > 0.1


@pytest.mark.usefixtures("short")
def test_next_head_on_a_kept_connection_has_the_same_limit(server: Server) -> None:
    with server.raw() as connection:
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert receive(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /v2")
        assert connection.recv(100) == b""


@pytest.mark.usefixtures("short")
def test_rest_of_a_rejected_body_has_a_time_limit(server: Server) -> None:
    with server.raw() as connection:
        connection.sendall(
            b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 9000000\r\n\r\n"
        )
        assert receive(connection).startswith(b"HTTP/1.1 415")
        connection.sendall(b"x" * 1000)
        assert connection.recv(100) == b""


@pytest.mark.parametrize("ending", ["", "Connection: close\r\n"], ids=["kept", "closed"])
def test_response_that_is_not_received_is_dropped(ending: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESPONSE_SECONDS", 0.1)
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024)).astype(np.uint8)
    body, kind = multipart(*[encoded(noise)] * 8)
    head = f"POST /v1/classify?scan=true HTTP/1.1\r\nHost: x\r\n{ending}Content-Type: {kind}\r\n"
    answered = server.metric('ctonnx_requests_total{route="classify",status="200"}')
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        while server.metric('ctonnx_requests_total{route="classify",status="200"}') == answered:
            pass
        time.sleep(0.3)
        response = b"".join(iter(lambda: connection.recv(1 << 20), b""))
    assert response.startswith(b"HTTP/1.1 200")
    assert not response.endswith(b"}")  # the rest was dropped


@pytest.mark.usefixtures("short")
def test_request_in_progress_has_no_head_limit(server: Server, png: bytes) -> None:
    with server.raw() as connection:
        head = f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(png)}\r\n\r\n"
        connection.sendall(head.encode() + png[:100])
        deadline = time.monotonic() + 0.4
        while time.monotonic() < deadline:
            assert server.app.in_progress >= 0
        connection.sendall(png[100:])
        assert connection.recv(10_000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS, sent to a server without it
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # without Host
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: image/png\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 200_000,
    ],
    ids=lambda sent: sent[:20],
)
def test_invalid_http_has_an_error_body(sent: bytes, server: Server) -> None:
    with server.raw() as connection:
        connection.sendall(sent)
        response = b""
        try:
            while piece := connection.recv(10_000):
                response += piece
        except ConnectionResetError:  # the server had not read everything
            pass
    assert response.startswith((b"HTTP/1.1 400 Bad Request", b"HTTP/1.1 499")) or not response
    if b" 400 " in response:
        assert response.endswith(b'{"error": "expected HTTP, found something else"}')
        assert all(f"{name}: ".encode() in response for name in HEADERS)
    assert server.get("/v2/health/live").status == 200
