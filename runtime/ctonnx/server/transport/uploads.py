"""Receiving bodies within limits of bytes and time.

Nothing is written to a disk. All bodies and responses in memory at a time share a quarter of the process's memory.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from starlette.requests import ClientDisconnect, Request

from ctonnx.server.settings import Limits
from ctonnx.server.transport.budgets import Reserve
from ctonnx.server.transport.errors import RequestError

__all__ = ["receive"]

_MOST_DISCARDED = 64 << 20  # bytes
_DISCARD_SECONDS = 10.0


async def receive(request: Request, add: Callable[[bytes], object], limits: Limits, reserve: Reserve) -> None:
    """Receives a request's body, and calls `reserve` and `add` for each piece.

    Raises:
        RequestError: If the body is too large, too slow or encoded, or memory for it is not available.
        ClientDisconnect: If the client has disconnected.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError(415, "expected a body without Content-Encoding, found one with it; send it uncompressed")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.body_bytes:
        await _reject_large(request, limits)
    received = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for piece in request.stream():
                reserve(len(piece))
                received += len(piece)
                if received > limits.body_bytes:
                    await _reject_large(request, limits)
                add(piece)
    except TimeoutError:
        message = f"expected the complete body within {limits.body_seconds:g} s, found it incomplete"
        raise RequestError(408, message, {"Connection": "close"}) from None


async def _reject_large(request: Request, limits: Limits) -> NoReturn:
    await _discard(request)
    advice = "send fewer files per request, or raise the server's --max-body-mb"
    message = f"expected a body of at most {limits.body_bytes} bytes, found a larger one; {advice}"
    raise RequestError(413, message, {"Connection": "close"})


async def _discard(request: Request) -> None:
    """Receives and drops the rest of a body, within bounds: most clients read no response before they have sent it."""
    if "expect" in request.headers:
        return  # the client waits for permission to send
    left = _MOST_DISCARDED
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            while left > 0:
                message = await request.receive()
                left -= len(message.get("body", b""))
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                if not message.get("more_body", False):
                    return
