"""Receiving bodies within limits of bytes and time.

Nothing is written to a disk. All bodies and responses in memory at a time share a quarter of the process's memory.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from starlette.requests import ClientDisconnect, Request

from ctonnx.server.settings import Limits
from ctonnx.server.transport.budgets import Reserve
from ctonnx.server.transport.errors import RequestError

__all__ = ["receive"]

_MOST_DISCARDED = 64 << 20  # bytes
_DISCARD_SECONDS = 10.0


async def receive(request: Request, add: Callable[[bytes], object], limits: Limits, reserve: Reserve) -> None:
    """Receives a request's body.

    Args:
        request: Request whose body was not read yet.
        add: Called with each piece.
        limits: Limits of the body's bytes and seconds.
        reserve: Function from `MemoryBudget.reservation`.

    Raises:
        RequestError: If the body is too large, too slow or encoded, or memory for it is not available.
        ClientDisconnect: If the client has disconnected.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError(415, "expected a body without Content-Encoding, found one with it; send it uncompressed")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.body_bytes:
        await _discard(request)
        raise _too_large(limits)
    received = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for piece in request.stream():
                reserve(len(piece))
                received += len(piece)
                if received > limits.body_bytes:
                    await _discard(request)
                    raise _too_large(limits)
                add(piece)
    except TimeoutError:
        raise RequestError(
            408,
            f"expected the complete body within {limits.body_seconds:g} s, found it incomplete",
            {"Connection": "close"},
        ) from None


def _too_large(limits: Limits) -> RequestError:
    return RequestError(
        413,
        f"expected a body of at most {limits.body_bytes} bytes, found a larger one; send fewer files per request, or "
        "raise the server's --max-body-mb",
        {"Connection": "close"},
    )


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
