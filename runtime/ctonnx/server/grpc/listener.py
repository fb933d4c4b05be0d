"""The port of the calls: gRPC's own server in the event loop of the HTTP server."""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from ctonnx.errors import CtonnxError
from ctonnx.server.grpc.calls import Calls
from ctonnx.server.settings import Settings
from ctonnx.server.transport.middleware import RequestMiddleware

__all__ = ["GrpcListener"]

_LAST_SECONDS = 1.0  # to send the last responses


class GrpcListener:
    """A port for gRPC, for `ctonnx.server.transport.lifecycle.serve`.

    Args:
        app: The application.
        sockets: Sockets from `bind`. They keep the port until gRPC, which accepts no socket, takes it at the start.
        settings: Settings of the application.
        certificate: TLS certificate with its chain, in PEM.
        private_key: Private key of the certificate.
    """

    def __init__(
        self,
        app: RequestMiddleware,
        sockets: Sequence[socket.socket],
        settings: Settings,
        *,
        certificate: Path | None = None,
        private_key: Path | None = None,
    ) -> None:
        self._app, self._sockets, self._settings = app, sockets, settings
        self._files = (private_key, certificate) if certificate and private_key else None
        self._server: Any = None

    async def start(self) -> None:
        """Accepts calls.

        Raises:
            CtonnxError: If the port was taken meanwhile, or the certificate cannot be used.
        """
        options = [
            ("grpc.max_receive_message_length", self._settings.limits.body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # else two servers could share a port, each with a part of the calls
        ]
        server = grpc.aio.server(options=options)
        self._calls = Calls(self._app, self._settings)
        server.add_generic_rpc_handlers(self._calls.handlers())
        addresses = [taken.getsockname()[:2] for taken in self._sockets]
        for taken in self._sockets:
            taken.close()
        for host, port in addresses:
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            try:
                if self._files is None:
                    server.add_insecure_port(address)
                else:
                    pair = tuple(file.read_bytes() for file in self._files)
                    server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
            except RuntimeError as error:
                raise CtonnxError(f"expected to listen for gRPC on {address}, found that it failed: {error}") from error
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Ends the calls that are left, and closes the port."""
        if self._server is not None:
            await self._calls.cancel()
            await self._server.stop(_LAST_SECONDS)
            self._server = None
