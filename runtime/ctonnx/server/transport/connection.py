"""uvicorn's HTTP connection, with time limits where uvicorn has none, and our own answer to what is no HTTP."""

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from ctonnx.server.transport.middleware import HEADERS

__all__ = ["ANSWER_SECONDS", "HEAD_SECONDS", "Connection"]

HEAD_SECONDS = 15.0
"""That a client has for a request's head, and for the rest of a body that was answered; uvicorn waits for ever."""


ANSWER_SECONDS = 60.0
"""That a client has to take its answer, once all of it was written."""


class Connection(H11Protocol):
    """A connection that does not wait for ever."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begins to wait for a request."""
        super().connection_made(transport)
        self._wait_for_a_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends with the client."""
        self._no_longer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes what comes."""
        super().data_received(data)
        is_answered = self.cycle is not None and self.cycle.response_complete  # before its body had come
        if not (self.conn.their_state is h11.IDLE or (is_answered and self.conn.their_state is h11.SEND_BODY)):
            self._no_longer()
        elif self._head is None and not self.transport.is_closing():
            self._wait_for_a_head()

    def on_response_complete(self) -> None:
        """Begins to wait until the client has taken its answer, which is kept in memory until then."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(ANSWER_SECONDS, self._drop, self.cycle)

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP, with the headers and the form of every answer."""
        body = json.dumps({"error": "expected HTTP, found something else"}).encode()
        headers = {
            **HEADERS,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        events = [
            h11.Response(status_code=400, headers=list(headers.items()), reason=b"Bad Request"),
            h11.Data(data=body),
        ]
        try:
            for event in [*events, h11.EndOfMessage()]:
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:  # an answer is under way already
            pass
        self.transport.close()

    def _wait_for_a_head(self) -> None:
        self._head = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _no_longer(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        self._head = None
        self.transport.close()

    def _drop(self, cycle: RequestResponseCycle) -> None:
        if self.cycle is cycle and self.transport.get_write_buffer_size():
            self.transport.abort()
