"""Bodies within limits of bytes and time."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runtime.server.conftest import Server, multipart, running

from ctonnx.prediction.predictor import Predictor
from ctonnx.server.settings import Limits, Settings

SMALL = Settings(limits=Limits(body_bytes=20_000, body_seconds=0.3))
TOO_LARGE = (
    "expected a body of at most 20000 bytes, found a larger one; send fewer files per request, or raise the server's "
    "--max-body-mb"
)


@pytest.fixture(scope="module")
def small(predictor: Predictor) -> Iterator[Server]:
    with running(predictor, SMALL) as server:
        yield server


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=xxBOUNDARYxx"])
def test_body_with_a_declared_length_that_is_too_large_is_rejected(kind: str, small: Server) -> None:
    response = small.classify(multipart(b"x" * 300_000)[0], kind)
    assert (response.status, response.error) == (413, TOO_LARGE)


def test_large_body_that_is_rejected_unread_gets_a_response(server: Server) -> None:
    assert server.classify(b"x" * 5_000_000, "text/plain").status == 415
    assert server.classify(b"x" * 5_000_000, query="?x=y").status == 400


def test_body_without_a_declared_length_is_counted(small: Server) -> None:
    pieces = iter([b"x" * 9_000] * 40)
    response = small.ask("POST", "/v1/classify", pieces, {"Content-Type": "image/png"})
    assert (response.status, response.error) == (413, TOO_LARGE)
    assert small.ask("POST", "/v1/classify", iter([b"x" * 9_000] * 2), {"Content-Type": "image/png"}).status == 200


def test_client_that_waits_for_permission_is_rejected_before_it_sends(small: Server) -> None:
    with small.raw() as connection:
        connection.sendall(
            b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 90000\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_incomplete_body_times_out(small: Server) -> None:
    with small.raw() as connection:
        connection.sendall(
            b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 900\r\n\r\nslow"
        )
        response = b"".join(iter(lambda: connection.recv(1000), b""))
    assert response.startswith(b"HTTP/1.1 408 ")
    assert b"expected the complete body within 0.3 s, found it incomplete" in response
    assert small.get("/v2/health/ready").status == 200


def test_client_that_disconnects_in_its_body_leaves_nothing_in_progress(small: Server) -> None:
    with small.raw() as connection:
        connection.sendall(
            b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 900\r\n\r\nhalf"
        )
    deadline = time.monotonic() + 10
    while small.metric('ctonnx_requests_total{route="classify",status="499"}') < 1:
        assert time.monotonic() < deadline
    assert small.metric("ctonnx_images_under_way") == 0


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_encoded_body_is_rejected(encoding: str, server: Server) -> None:
    headers = {"Content-Type": "image/png", "Content-Encoding": encoding}
    assert server.ask("POST", "/v1/classify", b"x", headers).status == 415


def test_uploads_are_not_written_to_a_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **settings: object) -> None:
        raise AssertionError("a temporary file was requested")

    for name in ("SpooledTemporaryFile", "TemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(f"tempfile.{name}", fail)
    assert server.classify(*multipart(b"x" * 3_000_000, b"y")).status == 200
