"""Listening sockets, signals, and a graceful shutdown that completes the requests in progress."""

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
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, cast

import uvicorn

from ctonnx.errors import CtonnxError
from ctonnx.server.transport.connection import Connection
from ctonnx.server.transport.middleware import RequestMiddleware

__all__ = ["Listener", "bind", "is_reachable", "serve"]

_KEEP_ALIVE = 75  # seconds; proxies keep idle connections for 60 and should close them first
_BACKLOG = 512
_CONNECTIONS = 1 << 16
_log = logging.getLogger(__name__)
_NO_PASSWORD = "none is given"  # noqa: S105  # without it, OpenSSL prompts for the password of an encrypted key
_HANG_UP: int | None = getattr(signal, "SIGHUP", None)  # POSIX only


class Listener(Protocol):
    """Another port of the application, in the same event loop."""

    async def start(self) -> None:
        """Accepts requests."""

    async def stop(self) -> None:
        """Ends the requests that are left, and closes the port."""


def bind(host: str, port: int, option: str = "--port") -> list[socket.socket]:
    """Binds a port on all addresses of a host, without accepting connections yet.

    Args:
        host: Name or address.
        port: Port; 0 is a free one.
        option: Option of the port, for messages.

    Raises:
        CtonnxError: If the host is unknown or the port is not available.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        message = f"expected a name or an address of this machine for --host, found '{host}' ({error})"
        raise CtonnxError(message) from error
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
        reason = {
            errno.EADDRINUSE: f"it is in use; choose another one with {option}, or stop the program that uses it",
            errno.EACCES: f"this user is not permitted to; choose a port from 1024 on with {option}",
            errno.EADDRNOTAVAIL: "this machine has no such address; see --host",
        }.get(error.errno or 0, error.strerror or str(error))
        raise CtonnxError(f"expected to listen on port {port} of '{host}': {reason}") from error
    return sockets


def is_reachable(sockets: Sequence[socket.socket]) -> bool:
    """Returns whether other machines can reach one of the sockets."""
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
    listener: Listener | None = None,
) -> int:
    """Serves until a signal stops the server and the requests in progress are complete.

    Args:
        app: The application.
        sockets: Sockets from `bind`; they are closed at the end.
        grace: Seconds for the requests in progress after the signal.
        ready: Called when the server accepts connections.
        stopping: Called after the signal with the number of requests in progress, if there are any.
        certificate: TLS certificate with its chain, in PEM.
        private_key: Private key of the certificate.
        listener: Another port; it is open when `ready` is called.

    Returns:
        0 after SIGTERM if all requests were completed, else the signal's number.

    Raises:
        CtonnxError: If the certificate or its key cannot be used.
    """
    _allow_connections()
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it logs a warning for each malformed body
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
    server = _Server(config, grace, ready, stopping, listener)
    asyncio.run(server.serve(list(sockets)))
    return 0 if server.signal == signal.SIGTERM and not server.force_exit else server.signal


def _allow_connections() -> None:
    """Raises the soft limit of open files, of which each connection is one, if the system has such a limit."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, _CONNECTIONS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS has an additional limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Server(uvicorn.Server):
    """uvicorn's server; after a signal it rejects new requests until those in progress are complete."""

    def __init__(
        self,
        config: uvicorn.Config,
        grace: float,
        ready: Callable[[], None],
        stopping: Callable[[int], None],
        listener: Listener | None,
    ) -> None:
        super().__init__(config)
        self._app = cast(RequestMiddleware, config.app)
        self._grace, self._ready, self._stopping = grace, ready, stopping
        self._listener = listener
        self._until = math.inf  # no signal yet
        self._is_exhausted = self._is_reported = False
        self.signal = int(signal.SIGTERM)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._log_once)
        await super().startup(sockets)
        if self._listener is not None:
            try:
                await self._listener.start()
            except BaseException:
                await super().shutdown(sockets)
                raise
        self._ready()

    def _log_once(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Logs only once that no connection can be accepted: asyncio repeats it for each one in the backlog."""
        if "out of system resource" not in context["message"]:
            loop.default_exception_handler(context)
        elif not self._is_exhausted:
            self._is_exhausted = True
            _log.error("no file descriptor is left for more connections: %s; see ulimit -n", context["exception"])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.force_exit:
            await self._cancel_requests()
        if self._listener is not None:
            await self._listener.stop()
        await super().shutdown(sockets)
        if self.force_exit:  # set during the shutdown; uvicorn does not shut the application down then
            await self._cancel_requests()
            await self.lifespan.shutdown()

    async def _cancel_requests(self) -> None:
        """Cancels the requests in progress; `RequestMiddleware` responds to their clients."""
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals(), ExitStack() as stack:
            is_main = threading.current_thread() is threading.main_thread()
            if is_main and _HANG_UP is not None and signal.getsignal(_HANG_UP) != signal.SIG_IGN:  # ignored by nohup
                stack.callback(signal.signal, _HANG_UP, signal.signal(_HANG_UP, self.handle_exit))
            yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._app.stopping:  # the second signal: stop at once
            self.should_exit = self.force_exit = True
            return
        self.signal, self._until, self._app.stopping = sig, time.monotonic() + self._grace, True

    async def on_tick(self, counter: int) -> bool:
        if self._app.stopping:
            if self._app.in_progress and not self._is_reported:  # a signal handler could interrupt other output
                self._stopping(self._app.in_progress)
            self._is_reported = True
            is_over = time.monotonic() > self._until
            self.should_exit = self.should_exit or is_over or not self._app.in_progress
            self.force_exit = self.force_exit or (is_over and bool(self._app.in_progress))
        return await super().on_tick(counter)
