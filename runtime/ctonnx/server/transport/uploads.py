"""Bodies within limits of bytes and time; the files of a multipart body, in memory alone.

Nothing is ever written to a disk, names that clients give their files go back in the answer alone, and all bodies and
answers that are held at a time share a quarter of the process's memory.
"""

import asyncio
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request

from ctonnx.server.settings import Limits
from ctonnx.server.transport.budgets import Take
from ctonnx.server.transport.errors import RequestError

__all__ = ["receive"]

_MOST_DISCARDED = 64 << 20  # bytes of a body that is too large are still taken, so that its client reads the answer
_DISCARD_SECONDS = 10.0


async def receive(request: Request, add: Callable[[bytes], object], limits: Limits, take: Take) -> None:
    """Receives a request's body.

    Args:
        request: whose body was not touched.
        add: Called with each piece.
        limits: of the body's bytes and seconds.
        take: of `MemoryBudget.held`.

    Raises:
        Refusal: it is too large, too slow, cut off, encoded, or there is no room.
        ClientDisconnect: The client has gone.
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
                take(len(piece))
                received += len(piece)
                if received > limits.body_bytes:
                    await _discard(request)
                    raise _too_large(limits)
                add(piece)
    except TimeoutError:
        raise RequestError(
            408,
            f"expected the whole body within {limits.body_seconds:g} s, found it unfinished",
            {"Connection": "close"},
        ) from None


def _too_large(limits: Limits) -> RequestError:
    return RequestError(
        413,
        f"expected a body of at most {limits.body_bytes} bytes, found a larger one; send fewer files at a time, or "
        "raise the server's --max-body-mb",
        {"Connection": "close"},
    )


async def _discard(request: Request) -> None:
    """Takes what else a client sends, within bounds: most clients read no answer before they have sent all."""
    if "expect" in request.headers:
        return  # this one waits for leave to send
    left = _MOST_DISCARDED
    try:
        async with asyncio.timeout(_DISCARD_SECONDS):
            while left > 0:
                message = await request.receive()
                left -= len(message.get("body", b""))
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return
