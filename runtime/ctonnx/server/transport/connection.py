"""uvicorn's HTTP connection, with additional time limits and the server's own response to invalid HTTP."""

import asyncio
import json
from contextlib import suppress

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from ctonnx.server.transport.middleware import HEADERS

__all__ = ["HEAD_SECONDS", "RESPONSE_SECONDS", "Connection"]

HEAD_SECONDS = 15.0
"""Time limit for a request's head, and for the rest of a body after its response; uvicorn has no limit."""

RESPONSE_SECONDS = 60.0
"""Time limit for a client to receive a response that is completely written."""


class Connection(H11Protocol):
    """A connection with time limits."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Starts the time limit of the first request."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Receives data, and starts or stops the timer."""
        super().data_received(data)
        is_answered = self.cycle is not None and self.cycle.response_complete  # before the body was complete
        if not (self.conn.their_state is h11.IDLE or (is_answered and self.conn.their_state is h11.SEND_BODY)):
            self._stop_timer()
        elif self._timer is None and not self.transport.is_closing():
            self._start_timer()

    def on_response_complete(self) -> None:
        """Starts the time limit for receiving the response, which is in memory until then."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(RESPONSE_SECONDS, self._drop, self.cycle)

    def send_400_response(self, msg: str) -> None:
        """Responds to invalid HTTP, with the headers and body of every error."""
        body = json.dumps({"error": "expected HTTP, found something else"}).encode()
        kind = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        head = h11.Response(status_code=400, headers=list({**HEADERS, **kind}.items()), reason=b"Bad Request")
        with suppress(h11.LocalProtocolError):  # a response has begun
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        self._timer = None
        self.transport.close()

    def _drop(self, cycle: RequestResponseCycle) -> None:
        if self.cycle is cycle and self.transport.get_write_buffer_size():
            self.transport.abort()
