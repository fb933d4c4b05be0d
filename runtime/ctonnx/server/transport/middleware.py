"""What stands before the routes: headers on every answer, the key, the count of what is under way.

Header values after https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
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

__all__ = ["HEADERS", "OPEN", "ApiKeyMiddleware", "RequestMiddleware"]

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
"""On every answer, unless it has the header already."""

_HEALTH = frozenset({"/v2/health/live", "/v2/health/ready"})
OPEN = _HEALTH | {"/", "/page.css", "/page.js", "/icon.svg"}
"""Paths that need no key: probes have none, and the page asks for it."""

_FAREWELL = 0.5  # seconds that a client has to take the last word


class RequestMiddleware:
    """What every request goes through first.

    Args:
        app: what stands behind it.
        told: Called for each answered request, with its route's name, its status and its seconds.

    Attributes:
        stopping: New requests are turned away, so that those under way come to their end.
        under_way: Requests that are not answered yet.
    """

    def __init__(self, app: ASGIApp, told: Callable[[str, int, float], None]) -> None:
        self._app, self._told = app, told
        self.stopping = False
        self.under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request (https://asgi.readthedocs.io)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].endswith("/"):  # which many clients add to an address
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        start, status, is_begun = time.perf_counter(), 499, False  # as nginx counts clients that have gone

        async def send_with_headers(message: Message) -> None:
            nonlocal status, is_begun
            if message["type"] == "http.response.start":
                status, is_begun = message["status"], True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        self.under_way += 1
        try:
            if self.stopping and scope["path"] not in _HEALTH:
                await _away()(scope, receive, send_with_headers)
            else:
                await self._app(scope, receive, send_with_headers)
        except asyncio.CancelledError:  # the server was told twice to stop
            if not is_begun:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_FAREWELL):
                        await _away()(scope, receive, send_with_headers)
        finally:
            self.under_way -= 1
            endpoint = scope.get("endpoint")
            self._told(getattr(endpoint, "__name__", "none"), status, time.perf_counter() - start)


def _away() -> JSONResponse:
    sentence = "the server is stopping; ask the one that takes its place"
    return JSONResponse({"error": sentence}, 503, {"Retry-After": "5", "Connection": "close"})


class ApiKeyMiddleware:
    """Lets in who brings the key.

    Args:
        app: what stands behind it.
        key: that requests bring as `Authorization: Bearer KEY`.
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._digest = app, _digest(key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] == "http" and scope["path"] not in OPEN and not self._is_known(Headers(scope=scope)):
            refused = JSONResponse(
                {"error": "expected the server's key in the header 'Authorization: Bearer KEY', found another or none"},
                401,
                {"WWW-Authenticate": "Bearer"},
            )
            await refused(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Digests have one length whatever is given: the time tells nothing of the key's.
        is_equal = hmac.compare_digest(_digest(given.strip().encode()), self._digest)
        return is_equal and scheme.lower() == "bearer"


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
