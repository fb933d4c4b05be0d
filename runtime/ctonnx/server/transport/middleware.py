"""Middleware: headers of every response, the API key, and the number of requests in progress.

Source of the header values: https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HEADERS", "OPEN", "ApiKey", "ApiKeyMiddleware", "RequestMiddleware"]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every response that does not set them itself."""

_HEALTH = frozenset({"/v2/health/live", "/v2/health/ready"})
OPEN = _HEALTH | {"/", "/page.css", "/page.js", "/icon.svg"}
"""Paths that need no key: health probes have none, and the page prompts for it."""

_LAST_SECONDS = 0.5  # to send the last response


class RequestMiddleware:
    """The outermost middleware: counts requests, adds headers, and rejects new requests when the server stops.

    After each request it calls `on_response` with the route's name, the status and the seconds.

    Attributes:
        stopping: Whether new requests are rejected, so that those in progress can be completed.
        in_progress: Number of requests without a complete response.
    """

    def __init__(self, app: ASGIApp, on_response: Callable[[str, int, float], None]) -> None:
        self._app, self._on_response = app, on_response
        self.stopping = False
        self.in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request (https://asgi.readthedocs.io)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].endswith("/"):  # many clients add it
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        start, status, is_begun = time.perf_counter(), 499, False  # nginx's status for a client that disconnected

        async def send_with_headers(message: Message) -> None:
            nonlocal status, is_begun
            if message["type"] == "http.response.start":
                status, is_begun = message["status"], True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        self.in_progress += 1
        try:
            if self.stopping and scope["path"] not in _HEALTH:
                await _stopping()(scope, receive, send_with_headers)
            else:
                await self._app(scope, receive, send_with_headers)
        except asyncio.CancelledError:  # a second signal to stop
            if not is_begun:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_SECONDS):
                        await _stopping()(scope, receive, send_with_headers)
        finally:
            self.in_progress -= 1
            endpoint = scope.get("endpoint")
            self._on_response(getattr(endpoint, "__name__", "none"), status, time.perf_counter() - start)


def _stopping() -> JSONResponse:
    message = "the server is stopping; try again later"
    return JSONResponse({"error": message}, 503, {"Retry-After": "5", "Connection": "close"})


class ApiKey:
    """An API key; only its digest is kept."""

    def __init__(self, key: str) -> None:
        self._digest = _digest(key.encode())

    def matches(self, authorization: str) -> bool:
        """Returns whether the value of the header `Authorization` has the key."""
        scheme, _, given = authorization.partition(" ")
        # All digests have the same length, so the time of the comparison does not leak the key's.
        is_equal = hmac.compare_digest(_digest(given.strip().encode()), self._digest)
        return is_equal and scheme.lower() == "bearer"


class ApiKeyMiddleware:
    """Rejects requests without the API key, which they send as `Authorization: Bearer KEY`."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._key = app, ApiKey(key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] == "http" and scope["path"] not in OPEN and not self._is_valid(Headers(scope=scope)):
            message = "expected the server's key in the header 'Authorization: Bearer KEY', found a wrong key or none"
            response = JSONResponse({"error": message}, 401, {"WWW-Authenticate": "Bearer"})
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_valid(self, headers: Headers) -> bool:
        return self._key.matches(headers.get("authorization", ""))


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
