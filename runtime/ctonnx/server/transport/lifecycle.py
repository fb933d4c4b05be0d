"""Sockets, signals, and a stop that finishes what the server has."""

import asyncio
import errno
import ipaddress
import logging
import math
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from ctonnx.errors import CtonnxError
from ctonnx.server.transport.connection import Connection
from ctonnx.server.transport.middleware import RequestMiddleware

__all__ = ["bind", "is_reachable", "serve"]

_KEEP_ALIVE = 75  # seconds; longer than the 60 that proxies keep an unused connection, so that they close it first
_BACKLOG = 512
_CONNECTIONS = 1 << 16
_log = logging.getLogger(__name__)
_NO_PASSWORD = "none is given"  # noqa: S105  # else OpenSSL asks for that of a locked key at the terminal
_HANG_UP: int | None = getattr(signal, "SIGHUP", None)  # of POSIX


def bind(host: str, port: int) -> list[socket.socket]:
    """Takes a port, on every address that a name stands for; nobody is let in yet.

    Raises:
        CtonnxError: The name stands for nothing, or the port cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CtonnxError(
            f"expected a name or an address of this machine for --host, found '{host}' ({error})"
        ) from error
    sockets: list[socket.socket] = []
    try:
        for family, kind, number, _, address in dict.fromkeys(found):
            taken = socket.socket(family, kind, number)
            sockets.append(taken)
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if port == 0 and len(sockets) > 1:  # the same free port on every address
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            taken.bind(address)
    except OSError as error:
        for taken in sockets:
            taken.close()
        why = {
            errno.EADDRINUSE: "it is in use; take another with --port, or end the program that has it",
            errno.EACCES: "this user may not; take one from 1024 on with --port",
            errno.EADDRNOTAVAIL: "this machine has no such address; see --host",
        }.get(error.errno or 0, error.strerror or str(error))
        raise CtonnxError(f"expected to listen on port {port} of '{host}': {why}") from error
    return sockets


def is_reachable(sockets: Sequence[socket.socket]) -> bool:
    """Says whether other machines may reach one of these sockets."""
    return not all(ipaddress.ip_address(taken.getsockname()[0].partition("%")[0]).is_loopback for taken in sockets)


def serve(
    app: RequestMiddleware,
    sockets: Sequence[socket.socket],
    *,
    grace: float,
    ready: Callable[[], None] = lambda: None,
    stopping: Callable[[int], None] = lambda requests: None,
    certificate: Path | None = None,
    private_key: Path | None = None,
) -> int:
    """Serves until a signal says to stop, and what is under way has come to its end.

    Args:
        app: The application.
        sockets: of `bind`; they are closed.
        grace: Seconds that requests under way get after the signal.
        ready: Called when clients are let in.
        stopping: Called at the signal with how many requests are under way, where there are any.
        certificate: of TLS, with its chain, in PEM.
        private_key: of the certificate.

    Returns:
        0 where SIGTERM came and every request was answered, else the signal's number.

    Raises:
        CtonnxError: The certificate or its key cannot be used.
    """
    _allow_connections()
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it warns of each malformed body
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
        ssl_keyfile_password=_NO_PASSWORD,
    )
    try:
        config.load()
    except ssl.SSLError as error:
        raise CtonnxError(
            f"expected a certificate in '{certificate}' and its private key, without a password, in '{private_key}', "
            f"both in PEM, found something else ({error.reason or error})"
        ) from error
    server = _Server(config, app, grace, ready, stopping)
    asyncio.run(server.serve(list(sockets)))
    return 0 if server.signal == signal.SIGTERM and not server.force_exit else server.signal


def _allow_connections() -> None:
    """Raises the limit of open files as far as this process may, where the system has one: a connection is one."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, _CONNECTIONS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # as on macOS, which has another limit besides
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Server(uvicorn.Server):
    """uvicorn's server, that goes on listening while requests under way come to their end, and turns others away."""

    def __init__(
        self,
        config: uvicorn.Config,
        app: RequestMiddleware,
        grace: float,
        ready: Callable[[], None],
        stopping: Callable[[int], None],
    ) -> None:
        super().__init__(config)
        self._front, self._grace, self._ready, self._stopping = app, grace, ready, stopping
        self._until = math.inf  # no signal came yet
        self._is_exhausted = self._has_told = False
        self.signal = int(signal.SIGTERM)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._without_a_flood)
        await super().startup(sockets)
        self._ready()

    def _without_a_flood(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tells once that no connection can be accepted: asyncio does so for each of the backlog, again and again."""
        if "out of system resource" not in context["message"]:
            loop.default_exception_handler(context)
        elif not self._is_exhausted:
            self._is_exhausted = True
            _log.error("no file descriptor is left for more connections: %s; see ulimit -n", context["exception"])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.force_exit:
            await self._cut_off()
        await super().shutdown(sockets)
        if self.force_exit:  # which may have come meanwhile; uvicorn leaves the application as it is then
            await self._cut_off()
            await self.lifespan.shutdown()

    async def _cut_off(self) -> None:
        """Ends what is under way; `RequestMiddleware` tells its clients."""
        under_way = list(self.server_state.tasks)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            is_main = threading.current_thread() is threading.main_thread()
            if not is_main or _HANG_UP is None or signal.getsignal(_HANG_UP) == signal.SIG_IGN:  # as nohup has it
                yield
                return
            before = signal.signal(_HANG_UP, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(_HANG_UP, before)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._front.stopping:  # told twice: at once
            self.should_exit = self.force_exit = True
            return
        self.signal, self._until, self._front.stopping = sig, time.monotonic() + self._grace, True

    async def on_tick(self, counter: int) -> bool:
        if self._front.stopping:
            if self._front.under_way and not self._has_told:  # not in the handler: it comes between any two lines
                self._stopping(self._front.under_way)
            self._has_told = True
            is_over = time.monotonic() > self._until
            self.should_exit = self.should_exit or is_over or not self._front.under_way
            self.force_exit = self.force_exit or (is_over and bool(self._front.under_way))
        return await super().on_tick(counter)
