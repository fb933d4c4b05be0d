"""Two servers behind nginx, as in docker/replicas: a server that is killed or stopped under load loses no request."""

import http.client
import ipaddress
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from tests.runtime.server.conftest import WAIT, Process, Server, encoded, multipart, started

from ctonnx.cli.main import main
from ctonnx.server.transport.middleware import RequestMiddleware

FOLDER = Path(__file__).parents[2] / "docker/replicas"
NGINX = shutil.which("nginx")
KEY = "0123456789abcdef0123456789abcdef"
_TIME = 5 * WAIT  # of the whole test, on a busy machine
_CLIENTS = 6
_ANSWERED = 'ctonnx_images_total{outcome="answered"}'

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def proxy(folder: Path, servers: list[int]) -> Iterator[tuple[int, Path]]:
    """Runs nginx with the configuration of docker/replicas, but on free ports; yields its port and its log."""
    port, log = free_port(), folder / "access.log"
    text = (FOLDER / "nginx.conf").read_text()
    changed = {
        "listen 8080": f"listen 127.0.0.1:{port}",
        "/tmp/": f"{folder}/",  # noqa: S108  what the file has
        "/dev/stdout": str(log),
        **{f"server-{number}:8000": f"127.0.0.1:{own}" for number, own in enumerate(servers, 1)},
    }
    for old, new in changed.items():
        assert old in text
        text = text.replace(old, new)
    file = folder / "nginx.conf"
    file.write_text(text)
    options = "daemon off;" + (" user root;" if os.getuid() == 0 else "")  # else its processes cannot read the folder
    command = [str(NGINX), "-p", str(folder), "-e", "stderr", "-c", str(file), "-g", options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: accepts(port) or process.poll() is not None)
            assert process.poll() is None, process.communicate()[1]
            yield port, log
        finally:
            process.terminate()
            process.wait(WAIT)


def accepts(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def wait_until(is_so: Callable[[], bool], seconds: float = WAIT) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


class Clients:
    """Clients that send one request after the other, each of three scans, until they are stopped.

    Attributes:
        statuses: Status of each response; or the error instead of one.
        results: Results of each response, in the order of the bodies' numbers.
    """

    def __init__(self, port: int, bodies: list[tuple[bytes, str]]) -> None:
        self.statuses: list[int | str] = []
        self.results: list[tuple[int, Any]] = []
        self._port, self._bodies, self._is_over = port, bodies, threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(_CLIENTS)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(WAIT)

    def wait_for(self, more: int) -> None:
        """Waits for a number of further responses."""
        wanted = len(self.statuses) + more
        wait_until(lambda: len(self.statuses) >= wanted)

    def _send(self, first: int) -> None:
        number = first
        while not self._is_over.is_set():
            number = (number + 1) % len(self._bodies)
            body, kind = self._bodies[number]
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=WAIT)
            try:
                headers = {"Content-Type": kind, "Authorization": f"Bearer {KEY}"}
                connection.request("POST", "/v1/classify", body, headers)
                response = connection.getresponse()
                content = response.read()
                if response.status == 200:
                    self.results.append((number, json.loads(content)["results"]))
                self.statuses.append(response.status)
            except (OSError, http.client.HTTPException) as error:
                self.statuses.append(repr(error))
            finally:
                connection.close()


def answered(server: Server) -> float:
    text = server.get("/metrics", {"Authorization": f"Bearer {KEY}"}).body.decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(_ANSWERED))


def same(one: Any, other: Any) -> bool:
    """Returns whether two lists of results are the same, but for rounding and time."""
    return len(one) == len(other) and all(
        (a["index"], a["label"], a["decision"]) == (b["index"], b["label"], b["decision"])
        and np.allclose(list(a["probabilities"].values()), list(b["probabilities"].values()), rtol=0, atol=1e-5)
        for a, b in zip(one, other, strict=True)
    )


@needs_nginx
def test_no_request_is_lost_when_a_server_is_killed_or_stopped_under_load(model: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    key.chmod(0o600)
    random = np.random.default_rng(0)
    scans = [random.integers(0, 256, (300, 300), np.uint8) for _ in range(6)]
    bodies = [multipart(*(encoded(scans[(number + more) % 6]) for more in range(3))) for number in range(6)]
    ports = [free_port(), free_port()]

    def start(number: int) -> Process:
        options = "--port", str(ports[number]), "--api-key-file", str(key), "--threads", "1"
        return ends.enter_context(started(model, *options, seconds=_TIME))

    with ExitStack() as ends:
        servers = [start(0), start(1)]
        port, log = ends.enter_context(proxy(tmp_path, ports))
        behind = Server(port, RequestMiddleware(None, lambda *_: None))  # type: ignore[arg-type]
        assert behind.ask("POST", "/v1/classify", bodies[0][0], {"Content-Type": bodies[0][1]}).status == 401
        assert behind.get("/metrics").status == 403
        with Clients(port, bodies) as clients:
            clients.wait_for(30)
            assert all(answered(each.server) > 0 for each in servers)
            servers[0].process.kill()
            clients.wait_for(60)
            servers[0] = start(0)
            wait_until(lambda: answered(servers[0].server) > 0)
            servers[1].process.terminate()
            clients.wait_for(60)
        servers[1].process.wait(WAIT)
        servers[0].process.kill()
        servers[0].process.wait(WAIT)
        neither = behind.classify(*bodies[0])
        assert (neither.status, neither.headers["retry-after"]) == (503, "1")
        assert neither.error == "no server is ready; try again later"
    twice = [line for line in log.read_text().splitlines() if re.search(r" 5\d\d, 200$", line)]
    assert twice  # requests that one server did not answer, and the other did
    assert set(clients.statuses) == {200}
    expected = dict(clients.results)
    assert len(expected) == len(bodies)
    assert all(same(results, expected[number]) for number, results in clients.results)


def test_services_and_proxy_name_the_same_servers() -> None:
    document = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    services = document["services"]
    replicas = {name for name, service in services.items() if service.get("command", [""])[0] == "serve"}
    assert len(replicas) == 2
    conf = (FOLDER / "nginx.conf").read_text()
    assert {f"{name}:8000" for name in replicas} == set(re.findall(r"^ +server (\S+) max_fails=1 ", conf, re.MULTILINE))
    assert services["proxy"]["ports"] == ["127.0.0.1:8000:8080"]
    assert "listen 8080;" in conf
    (subnet,) = (ipaddress.ip_network(entry["subnet"]) for entry in document["networks"]["inside"]["ipam"]["config"])
    addresses = [services[name]["networks"]["inside"]["ipv4_address"] for name in sorted(replicas)]
    assert len({ipaddress.ip_address(address) for address in addresses if ipaddress.ip_address(address) in subnet}) == 2


def test_limits_of_the_proxy_are_those_of_the_server() -> None:
    conf, shown = (FOLDER / "nginx.conf").read_text(), CliRunner().invoke(main, ["serve", "--help"]).stdout
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", conf)
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", conf)
    default = {
        name: float(re.findall(rf"--{name}.*?default:\s+([\d.]+)", shown, re.DOTALL)[0])
        for name in ("max-body-mb", "time-limit")
    }
    assert float(megabytes) == default["max-body-mb"]
    assert float(seconds) > 2 * default["time-limit"]
