"""Middleware: headers of every response, the API key, CORS, shutdown."""

import logging
from collections.abc import Iterator

import pytest
from tests.runtime.server.conftest import Server, running

from ctonnx.prediction.predictor import Predictor
from ctonnx.server.settings import Settings
from ctonnx.server.transport.middleware import HEADERS, OPEN

KEY = "correct horse"
PATHS = ["/", "/v1/model", "/v1/classify", "/v2", "/v2/health/live", "/metrics", "/openapi.json", "/nothing"]


@pytest.fixture(scope="module")
def locked(predictor: Predictor) -> Iterator[Server]:
    with running(predictor, Settings(key=KEY)) as server:
        yield server


@pytest.fixture(scope="module")
def shared(predictor: Predictor) -> Iterator[Server]:
    with running(predictor, Settings(key=KEY, origins=("https://viewer.example",))) as server:
        yield server


@pytest.mark.parametrize("path", PATHS)
def test_every_response_has_the_headers(path: str, server: Server) -> None:
    headers = server.get(path).headers
    assert {name: headers.get(name.lower()) for name in HEADERS} == HEADERS
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


def test_policy_allows_nothing_from_other_hosts() -> None:
    policy = dict(rule.split(" ", 1) for rule in HEADERS["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {source for sources in policy.values() for source in sources.split()} == {
        "'none'",
        "'self'",
        "data:",
        "blob:",
    }


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Bearer {KEY[:-1]}"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/v1/model", "/v2", "/metrics", "/openapi.json", "/nothing"])
def test_requests_without_the_key_are_rejected(path: str, header: dict[str, str], locked: Server) -> None:
    response = locked.get(path, header)
    assert (response.status, response.headers["www-authenticate"]) == (401, "Bearer")
    assert response.error.startswith("expected the server's key")
    assert locked.ask("POST", "/v1/classify", b"x", {**header, "Content-Type": "image/png"}).status == 401


def test_key_gives_access(locked: Server) -> None:
    for scheme in ("Bearer", "bearer"):
        assert locked.get("/v1/model", {"Authorization": f"{scheme} {KEY}"}).json["key_required"] is True


def test_probes_and_the_page_need_no_key(locked: Server) -> None:
    assert {locked.get(path).status for path in OPEN} <= {200, 404}
    assert locked.get("/v2/health/ready").status == 200


def test_only_allowed_origins_may_read_responses(shared: Server) -> None:
    preflight = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "POST"}
    headers = {**preflight, "Access-Control-Request-Headers": "authorization, content-type"}
    assert shared.ask("OPTIONS", "/v1/classify", None, headers).status == 200
    response = shared.get("/v1/model", {"Origin": "https://viewer.example"})
    assert (response.status, response.headers["access-control-allow-origin"]) == (401, "https://viewer.example")
    other = shared.get("/v1/model", {"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers
    assert shared.ask("OPTIONS", "/v1/classify", None, {**headers, "Origin": "https://other.example"}).status == 400


def test_stopping_server_rejects_new_requests_and_completes_the_others(predictor: Predictor, png: bytes) -> None:
    with running(predictor, Settings()) as server:
        head = f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(png)}\r\n\r\n"
        with server.raw() as begun:
            begun.sendall(head.encode())
            while server.app.in_progress < 1:
                pass
            server.app.stopping = True
            ready = server.get("/v2/health/ready")
            assert (ready.status, ready.json) == (503, {"ready": False})
            assert server.get("/v2/health/live").status == 200
            response = server.classify(png)
            assert (response.status, response.headers["retry-after"]) == (503, "5")
            assert response.error == "the server is stopping; try again later"
            begun.sendall(png)
            assert begun.recv(12) == b"HTTP/1.1 200"


def test_nothing_of_a_request_is_logged(server: Server, png: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        server.classify(png, query="?heatmap=true")
        server.classify(b"broken")
        assert server.classify(b"--x\r\nbroken", "multipart/form-data; boundary=x").status == 400
        with server.raw() as connection:
            connection.sendall(b"no HTTP\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 400"
    assert [record.name for record in caplog.records if not record.name.startswith(("PIL", "asyncio"))] == []
