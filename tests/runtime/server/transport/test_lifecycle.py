"""A real process: ports, signals, a stop that finishes what it has, memory."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from tests.runtime.server.conftest import WAIT, Server

from ctonnx.errors import CtonnxError
from ctonnx.server.transport.lifecycle import bind, is_reachable
from ctonnx.server.transport.middleware import RequestMiddleware

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@dataclass(frozen=True)
class Process:
    """A server of its own."""

    process: "subprocess.Popen[str]"
    said: list[str]
    server: Server

    def end(self) -> tuple[int, str]:
        """Waits for the end, and returns the exit code and what was said after it was ready."""
        _, rest = self.process.communicate(timeout=WAIT)
        return self.process.returncode, rest


@contextmanager
def started(model: Path, *options: str) -> Iterator[Process]:
    command = [sys.executable, "-m", "ctonnx", "serve", "--model", str(model), "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        alarm = threading.Timer(WAIT, process.kill)
        alarm.start()
        try:
            assert process.stderr is not None
            said: list[str] = []
            while line := process.stderr.readline():
                said.append(line)
                if line.startswith("serving: "):
                    break
            assert said, process.wait()
            port = int(said[-1].rpartition(":")[2])
            yield Process(process, said, Server(port, RequestMiddleware(None, lambda *_: None)))  # type: ignore[arg-type]
        finally:
            alarm.cancel()
            process.kill()


def test_server_says_what_it_serves_and_ends_with_zero_when_it_is_told(model: Path, png: bytes) -> None:
    with started(model) as run:
        caveat = run.said.pop(2)
        assert caveat.startswith("caveat: ")
        assert caveat.endswith(f" more: ctonnx inspect {model})\n")
        assert run.said == [
            f"model: {model} (fp32 on cpu)\n",
            "note: this model was trained on synthetic phantoms; its predictions have no clinical meaning\n",
            f"serving: http://127.0.0.1:{run.server.port}\n",
        ]
        assert run.server.classify(png).status == 200
        run.process.send_signal(signal.SIGTERM)
        assert run.end() == (0, "")


def test_interrupt_ends_as_it_ends_every_command(model: Path) -> None:
    with started(model) as run:
        run.process.send_signal(signal.SIGINT)
        assert run.end() == (130, "\nctonnx: stopped\n")


def test_request_under_way_is_finished_and_others_are_turned_away(model: Path, png: bytes) -> None:
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
        answer = b"".join(iter(lambda: begun.recv(10_000), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        code, said = run.end()
        assert code == 0
        assert re.fullmatch(r"(stopping: \d requests? to finish; .*\n)?", said)


def test_hang_up_finishes_what_is_under_way_too(model: Path, png: bytes) -> None:
    with started(model) as run:
        assert run.server.classify(png).status == 200
        run.process.send_signal(signal.SIGHUP)
        assert run.end() == (129, "\nctonnx: stopped\n")


def test_second_signal_tells_who_waits_and_does_not_wait(model: Path) -> None:
    with started(model) as run, run.server.raw() as begun:
        begun.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n")
        run.server.get("/v2/health/live")
        run.process.send_signal(signal.SIGTERM)
        while run.server.get("/v2/health/ready").status == 200:
            pass
        run.process.send_signal(signal.SIGTERM)
        answer = b"".join(iter(lambda: begun.recv(10_000), b""))
        assert answer.startswith(b"HTTP/1.1 503")
        assert b'{"error":"the server is stopping; ask the one that takes its place"}' in answer
        code, said = run.end()
        assert code == 143
        assert re.fullmatch(r"(stopping: \d requests? to finish; .*\n)?\nctonnx: stopped\n", said)


def test_time_for_the_stop_runs_out(model: Path) -> None:
    with started(model, "--time-limit", "0.5") as run, run.server.raw() as begun:
        begun.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n")
        run.server.get("/v2/health/live")
        run.process.send_signal(signal.SIGTERM)
        code, said = run.end()
        assert (code, said) == (0, "stopping: 1 request to finish; a second signal aborts them\n")  # 408 by then


def test_connections_without_end_are_told_of_once_and_leave_the_server_whole(model: Path, png: bytes) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        with ExitStack() as ends:
            run = ends.enter_context(started(model))
            resource.prlimit(run.process.pid, resource.RLIMIT_NOFILE, (64, 64))  # it raised the one that it had
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            with ExitStack() as silent:
                for _ in range(100):
                    silent.enter_context(run.server.raw())
                threading.Event().wait(1.5)
            assert run.server.classify(png).status == 200
            run.process.send_signal(signal.SIGTERM)
            code, said = run.end()
        assert code == 0
        assert said.count("no file descriptor is left for more connections") == 1
        assert len(said.splitlines()) <= 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_as_many_connections_are_allowed_as_may_be(model: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        with started(model) as run:
            found, _ = resource.prlimit(run.process.pid, resource.RLIMIT_NOFILE)
            assert found == min(hard, 1 << 16)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_idle_server_uses_no_processor_and_memory_stays_flat(model: Path, png: bytes) -> None:
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


def test_certificate_that_is_none_is_told(model: Path, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate", encoding="ascii")
    words = ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "cert.pem")]
    command = [sys.executable, "-m", "ctonnx", "serve", "--model", str(model), "--port", "0", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(
        f"Error: expected a certificate in '{tmp_path / 'cert.pem'}' and its"
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a key with openssl")
def test_locked_key_is_refused_and_its_password_not_asked_for(model: Path, tmp_path: Path) -> None:
    make = "openssl req -x509 -newkey rsa:2048 -passout pass:secret -keyout key.pem -out cert.pem -days 2 -subj /CN=a"
    subprocess.run(make.split(), check=True, capture_output=True, cwd=tmp_path)
    words = ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]
    command = [sys.executable, "-m", "ctonnx", "serve", "--model", str(model), "--port", "0", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=WAIT, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (2, "")
    assert "its private key, without a password, in" in done.stderr
    assert "PEM pass phrase" not in done.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_tls_is_spoken(model: Path, tmp_path: Path) -> None:
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


def test_port_that_is_in_use_is_told_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CtonnxError) as refused:
            bind("127.0.0.1", port)
    assert str(refused.value) == (
        f"expected to listen on port {port} of '127.0.0.1': it is in use; take another with --port, or end the program "
        "that has it"
    )


def test_host_that_is_none_of_this_machines_is_told() -> None:
    with pytest.raises(
        CtonnxError, match=r"expected to listen on port 0 of '203\.0\.113\.1': this machine has no such"
    ):
        bind("203.0.113.1", 0)
    with pytest.raises(
        CtonnxError, match="expected a name or an address of this machine for --host, found 'not a host'"
    ):
        bind("not a host", 0)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may take any port")
def test_port_that_this_user_may_not_have_is_told() -> None:
    with pytest.raises(CtonnxError, match="this user may not; take one from 1024 on"):
        bind("127.0.0.1", 80)


@pytest.mark.parametrize(("host", "reachable"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])  # noqa: S104
def test_what_other_machines_reach_is_known(host: str, reachable: bool) -> None:
    sockets = bind(host, 0)
    try:
        assert is_reachable(sockets) is reachable
        assert len({taken.getsockname()[1] for taken in sockets}) == 1
    finally:
        for taken in sockets:
            taken.close()
