"""A server in a process: ports, signals, graceful shutdown, memory."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from tests.runtime.server.conftest import WAIT, started

from ctonnx.errors import CtonnxError
from ctonnx.server.transport.lifecycle import bind, is_reachable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def test_server_logs_its_model_and_ends_with_zero_on_sigterm(model: Path, png: bytes) -> None:
    with started(model) as run:
        caveat = run.log.pop(2)
        assert caveat.startswith("caveat: ")
        assert caveat.endswith(f" more: ctonnx inspect {model})\n")
        assert run.log == [
            f"model: {model} (fp32 on cpu)\n",
            "note: this model was trained on synthetic phantoms; its predictions have no clinical meaning\n",
            f"serving: http://127.0.0.1:{run.server.port}\n",
        ]
        assert run.server.classify(png).status == 200
        run.process.send_signal(signal.SIGTERM)
        assert run.end() == (0, "")


def test_interrupt_has_the_exit_code_of_every_command(model: Path) -> None:
    with started(model) as run:
        run.process.send_signal(signal.SIGINT)
        assert run.end() == (130, "\nctonnx: stopped\n")


def test_request_in_progress_is_completed_and_new_ones_are_rejected(model: Path, png: bytes) -> None:
    head = f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(png)}\r\n\r\n"
    with started(model) as run, run.server.raw() as begun:
        begun.sendall(head.encode())
        run.server.get("/v2/health/live")  # the head has arrived before this
        run.process.send_signal(signal.SIGTERM)
        while (ready := run.server.get("/v2/health/ready")).status == 200:
            pass
        assert ready.json == {"ready": False}
        assert run.server.classify(png).status == 503
        begun.sendall(png)
        response = b"".join(iter(lambda: begun.recv(10_000), b""))
        assert response.startswith(b"HTTP/1.1 200")
        code, log = run.end()
        assert code == 0
        assert re.fullmatch(r"(stopping: \d requests? to finish; .*\n)?", log)


def test_hang_up_is_a_graceful_shutdown(model: Path, png: bytes) -> None:
    with started(model) as run:
        assert run.server.classify(png).status == 200
        run.process.send_signal(signal.SIGHUP)
        assert run.end() == (129, "\nctonnx: stopped\n")


def test_second_signal_responds_to_clients_and_stops_immediately(model: Path) -> None:
    with started(model) as run, run.server.raw() as begun:
        begun.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n")
        run.server.get("/v2/health/live")
        run.process.send_signal(signal.SIGTERM)
        while run.server.get("/v2/health/ready").status == 200:
            pass
        run.process.send_signal(signal.SIGTERM)
        response = b"".join(iter(lambda: begun.recv(10_000), b""))
        assert response.startswith(b"HTTP/1.1 503")
        assert b'{"error":"the server is stopping; try again later"}' in response
        code, log = run.end()
        assert code == 143
        assert re.fullmatch(r"(stopping: \d requests? to finish; .*\n)?\nctonnx: stopped\n", log)


def test_graceful_shutdown_has_a_time_limit(model: Path) -> None:
    with started(model, "--time-limit", "0.5") as run, run.server.raw() as begun:
        begun.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n")
        run.server.get("/v2/health/live")
        run.process.send_signal(signal.SIGTERM)
        code, log = run.end()
        assert (code, log) == (0, "stopping: 1 request to finish; a second signal aborts them\n")  # 408 by then


def test_too_many_connections_are_logged_once_and_the_server_survives(model: Path, png: bytes) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        with ExitStack() as ends:
            run = ends.enter_context(started(model))
            resource.prlimit(run.process.pid, resource.RLIMIT_NOFILE, (64, 64))  # the server raised its limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            with ExitStack() as silent:
                for _ in range(100):
                    silent.enter_context(run.server.raw())
                threading.Event().wait(1.5)
            assert run.server.classify(png).status == 200
            run.process.send_signal(signal.SIGTERM)
            code, log = run.end()
        assert code == 0
        assert log.count("no file descriptor is left for more connections") == 1
        assert len(log.splitlines()) <= 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_soft_limit_of_open_files_is_raised(model: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        with started(model) as run:
            found, _ = resource.prlimit(run.process.pid, resource.RLIMIT_NOFILE)
            assert found == min(hard, 1 << 16)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_idle_server_uses_no_cpu_and_memory_is_constant(model: Path, png: bytes) -> None:
    with started(model) as run:
        watched = psutil.Process(run.process.pid)

        def ask(count: int) -> float:
            for _ in range(count):
                assert run.server.classify(png, query="?heatmap=true&scan=true").status == 200
            return float(watched.memory_info().rss / 1e6)

        ask(60)
        before = ask(30)
        after = ask(150)
        assert after - before < 10
        used = sum(watched.cpu_times()[:2])
        assert watched.num_threads() < 40
        threading.Event().wait(0.5)
        assert sum(watched.cpu_times()[:2]) - used < 0.2
        run.process.send_signal(signal.SIGTERM)
        assert run.end() == (0, "")


def test_invalid_certificate_is_an_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate", encoding="ascii")
    words = ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "cert.pem")]
    command = [sys.executable, "-m", "ctonnx", "serve", "--model", str(model), "--port", "0", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(
        f"Error: expected a certificate in '{tmp_path / 'cert.pem'}' and its"
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a key with openssl")
def test_encrypted_key_is_rejected_without_a_prompt(model: Path, tmp_path: Path) -> None:
    make = "openssl req -x509 -newkey rsa:2048 -passout pass:secret -keyout key.pem -out cert.pem -days 2 -subj /CN=a"
    subprocess.run(make.split(), check=True, capture_output=True, cwd=tmp_path)
    words = ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]
    command = [sys.executable, "-m", "ctonnx", "serve", "--model", str(model), "--port", "0", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=WAIT, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (2, "")
    assert "its private key, without a password, in" in done.stderr
    assert "PEM pass phrase" not in done.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_tls_works(model: Path, tmp_path: Path) -> None:
    make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    subprocess.run(
        [*make.split(), "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True, cwd=tmp_path
    )
    with started(model, "--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")) as run:
        trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        with (
            socket.create_connection(("127.0.0.1", run.server.port), timeout=WAIT) as plain,
            trusted.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"


def test_port_in_use_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CtonnxError) as error:
            bind("127.0.0.1", port)
    assert str(error.value) == (
        f"expected to listen on port {port} of '127.0.0.1': it is in use; choose another one with --port, or stop the "
        "program that uses it"
    )


def test_host_of_another_machine_is_an_error() -> None:
    with pytest.raises(
        CtonnxError, match=r"expected to listen on port 0 of '203\.0\.113\.1': this machine has no such"
    ):
        bind("203.0.113.1", 0)
    with pytest.raises(
        CtonnxError, match="expected a name or an address of this machine for --host, found 'not a host'"
    ):
        bind("not a host", 0)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may take any port")
def test_privileged_port_is_an_error() -> None:
    with pytest.raises(CtonnxError, match="this user is not permitted to; choose a port from 1024 on"):
        bind("127.0.0.1", 80)


@pytest.mark.parametrize(("host", "reachable"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])  # noqa: S104
def test_addresses_that_other_machines_can_reach_are_known(host: str, reachable: bool) -> None:
    sockets = bind(host, 0)
    try:
        assert is_reachable(sockets) is reachable
        assert len({taken.getsockname()[1] for taken in sockets}) == 1
    finally:
        for taken in sockets:
            taken.close()
