"""The port for gRPC of a server in a process: TLS, a port in use, the end at a signal, a missing library."""

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tests.runtime.cli.blocked_imports import ctonnx
from tests.runtime.server.conftest import WAIT, started
from tests.runtime.server.grpc.test_calls import NAME, pixels
from tritonclient.utils import InferenceServerException

from ctonnx.server.grpc.listener import GrpcListener
from ctonnx.server.settings import Settings
from ctonnx.server.transport.lifecycle import bind
from ctonnx.server.transport.middleware import RequestMiddleware

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def port_of(log: list[str]) -> int:
    (line,) = (line for line in log if line.startswith("serving gRPC: "))
    return int(line.rpartition(":")[2])


def test_both_ports_give_the_same_result_and_end_with_zero(model: Path) -> None:
    with started(model, "--grpc-port", "0") as run:
        tensor = pixels()
        values = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3)).ravel().tolist()  # as in `pixels`
        body = {"name": "pixels", "datatype": "UINT8", "shape": [1, 64, 64, 3], "data": values}
        over_http = run.server.infer({"inputs": [body]}, f"/v2/models/{NAME}/infer").json["outputs"]
        with triton.InferenceServerClient(f"127.0.0.1:{port_of(run.log)}") as client:
            found = client.infer(NAME, [tensor])
        for output in over_http:
            values = found.as_numpy(output["name"])
            assert list(values.shape) == output["shape"]
            np.testing.assert_array_equal(values.ravel(), np.float32(output["data"]))
        run.process.send_signal(signal.SIGTERM)
        assert run.end() == (0, "")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_certificate_is_that_of_https(model: Path, tmp_path: Path) -> None:
    make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    subprocess.run(
        [*make.split(), "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True, cwd=tmp_path
    )
    certificate = str(tmp_path / "cert.pem")
    words = ["--grpc-port", "0", "--tls-cert", certificate, "--tls-key", str(tmp_path / "key.pem")]
    with started(model, *words) as run:
        address = f"localhost:{port_of(run.log)}"
        with triton.InferenceServerClient(address, ssl=True, root_certificates=certificate) as client:
            assert client.is_server_ready()
        with triton.InferenceServerClient(address) as client, pytest.raises(InferenceServerException):
            client.is_server_ready(client_timeout=WAIT)


def test_port_in_use_is_an_error(model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = ctonnx("serve", "--model", str(model), "--port", "0", "--grpc-port", port)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: expected to listen on port {port} of '127.0.0.1': it is in use; choose another one with --grpc-port, "
        "or stop the program that uses it\n"
    )


@pytest.mark.parametrize("package", ["grpc", "google.protobuf"])
def test_missing_extra_ends_in_one_sentence(package: str, model: Path) -> None:
    done = ctonnx("serve", "--model", str(model), "--port", "0", "--grpc-port", "0", without=(package,))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: expected the package '{package}' for --grpc-port, found none; pip install \"ctonnx[grpc]\"\n"
    )


def test_call_in_progress_when_the_port_closes_gets_the_reason() -> None:
    async def never(scope: object, receive: object, send: object) -> None:
        await asyncio.Event().wait()

    async def close_during_a_call() -> tuple[grpc.StatusCode, str]:
        app = RequestMiddleware(never, lambda *arguments: None)
        sockets = bind("127.0.0.1", 0)
        port = sockets[0].getsockname()[1]
        listener = GrpcListener(app, sockets, Settings())
        await listener.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ServerMetadata")(b"", timeout=WAIT)
            async with asyncio.timeout(WAIT):
                while not app.in_progress:
                    await asyncio.sleep(0.01)
                await listener.stop()
            return await call.code(), await call.details()

    found = asyncio.run(close_during_a_call())
    assert found == (grpc.StatusCode.UNAVAILABLE, "the server is stopping; try again later")
