"""Fixtures of the server's tests: a server in a thread on a free port, and a small client."""

import http.client
import io
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.predictor import Predictor
from ctonnx.server.app import make_app
from ctonnx.server.monitoring.usage_log import UsageLog
from ctonnx.server.settings import Settings
from ctonnx.server.transport.lifecycle import bind, serve
from ctonnx.server.transport.middleware import RequestMiddleware

WAIT = 20.0
"""Seconds that a test waits for an event."""


@dataclass(frozen=True)
class Response:
    """A response: its status, its headers by their lower-case names, and its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        document = self.json
        assert list(document) == ["error"]
        return str(document["error"])


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    app: RequestMiddleware

    def ask(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, headers: Mapping[str, str] = {}
    ) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Response(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str, headers: Mapping[str, str] = {}) -> Response:
        return self.ask("GET", path, None, headers)

    def classify(self, body: bytes, kind: str = "image/png", query: str = "") -> Response:
        return self.ask("POST", f"/v1/classify{query}", body, {"Content-Type": kind})

    def infer(self, document: object, path: str = "") -> Response:
        name = self.get("/v1/model").json["name"]
        body = json.dumps(document).encode()
        return self.ask("POST", path or f"/v2/models/{name}/infer", body, {"Content-Type": "application/json"})

    def metric(self, name: str) -> float:
        """Returns the value of a metric; its labels are part of the name."""
        for line in self.get("/metrics").body.decode().splitlines():
            if line.rpartition(" ")[0] == name:
                return float(line.rpartition(" ")[2])
        return 0.0

    @contextmanager
    def raw(self) -> Iterator[socket.socket]:
        """Yields a connection for arbitrary bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT) as connection:
            yield connection


Serve: TypeAlias = Callable[..., Server]


@contextmanager
def running(predictor: Predictor, settings: Settings, usage: UsageLog | None = None) -> Iterator[Server]:
    """Serves in a thread until the block ends."""
    app = make_app(predictor, settings, version="1.2.3", usage=usage)
    sockets = bind("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    is_ready = threading.Event()
    thread = threading.Thread(target=serve, args=(app, sockets), kwargs={"grace": WAIT, "ready": is_ready.set})
    thread.start()
    try:
        assert is_ready.wait(WAIT)
        yield Server(port, app)
    finally:
        app.stopping = True
        thread.join(WAIT)
        assert not thread.is_alive()


@dataclass(frozen=True)
class Process:
    """A server in a process."""

    process: "subprocess.Popen[str]"
    log: list[str]
    server: Server

    def end(self) -> tuple[int, str]:
        """Waits for the end, and returns the exit code and the log since the server was ready."""
        _, rest = self.process.communicate(timeout=WAIT)
        return self.process.returncode, rest


@contextmanager
def started(model: Path, *options: str, seconds: float = WAIT) -> Iterator[Process]:
    """Yields a server in a process, which is killed after some seconds at the latest."""
    command = [sys.executable, "-m", "ctonnx", "serve", "--model", str(model), "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        alarm = threading.Timer(seconds, process.kill)
        alarm.start()
        try:
            assert process.stderr is not None
            log: list[str] = []
            while line := process.stderr.readline():
                log.append(line)
                if line.startswith("serving: "):
                    break
            assert log, process.wait()
            port = int(log[-1].rpartition(":")[2])
            yield Process(process, log, Server(port, RequestMiddleware(None, lambda *_: None)))  # type: ignore[arg-type]
        finally:
            alarm.cancel()
            process.kill()


class PausedPredictor(Predictor):
    """A predictor that waits before each batch.

    Attributes:
        go: Event that must be set for a batch to be computed.
        begun: Semaphore that is released for each batch.
        batches: Number of images of each batch.
    """

    def __init__(self, model: Path) -> None:
        super().__init__(model)
        self.go, self.begun = threading.Event(), threading.Semaphore(0)
        self.batches: list[int] = []
        self.fails = False
        self._own = ThreadPoolExecutor()

    def close(self) -> None:
        self._own.shutdown()
        super().close()

    def submit_pixels(self, pixels: NDArray[np.uint8]) -> "Future[Outputs]":
        return self._own.submit(self.predict_pixels, pixels)

    def predict_pixels(self, pixels: NDArray[np.uint8]) -> Outputs:
        self.batches.append(len(pixels))
        self.begun.release()
        assert self.go.wait(WAIT)
        if self.fails:
            raise RuntimeError("secret: /home/someone")
        return super().predict_pixels(pixels)


@pytest.fixture(scope="session")
def predictor(model: Path) -> Iterator[Predictor]:
    with Predictor(model) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def server(predictor: Predictor) -> Iterator[Server]:
    """A server with the default settings, shared by a module's tests."""
    with running(predictor, Settings()) as server:
        yield server


@pytest.fixture
def paused(model: Path) -> Iterator[PausedPredictor]:
    predictor = PausedPredictor(model)
    yield predictor
    predictor.go.set()
    predictor.close()


@pytest.fixture(scope="session")
def png() -> bytes:
    """A scan of noise, 80 x 100 pixels."""
    return encoded(np.random.default_rng(0).integers(0, 256, (100, 80)).astype(np.uint8))


def encoded(array: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


def multipart(
    *files: bytes, boundary: str = "xxBOUNDARYxx", name: str = 'filename="../../etc/passwd"'
) -> tuple[bytes, str]:
    """Returns a multipart body with files, and its content type."""
    head = f'Content-Disposition: form-data; name="file"; {name}\r\nContent-Type: image/png\r\n\r\n'
    parts = [f"--{boundary}\r\n{head}".encode() + file + b"\r\n" for file in files]
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
