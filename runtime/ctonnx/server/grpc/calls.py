"""The methods of the Open Inference Protocol and of gRPC's health checking, as requests to the HTTP application.

The application checks the key, the queue, the limits and the model, counts the request and is drained when the server
stops. So a call and a request over HTTP cannot differ in their rules, their metrics or their messages.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from starlette.types import Message

from ctonnx.server.grpc.messages import HEALTH, INFERENCE, message
from ctonnx.server.grpc.translation import read_response, write_body
from ctonnx.server.settings import Settings
from ctonnx.server.transport.errors import RequestError, bad_request, short
from ctonnx.server.transport.middleware import ApiKey, RequestMiddleware
from ctonnx.system.memory import largest

__all__ = ["Calls"]

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}  # by the status of HTTP; INTERNAL is any other
_LENGTH = b"inference-header-content-length"
_LEAST_READS = 16  # calls whose message is received at a time
_LARGE = 1 << 20  # bytes of a message that is translated in a thread
_log = logging.getLogger(__name__)


@dataclass
class _Response:
    """Response of the application."""

    status: int = 500
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Calls:
    """Calls of the services; it belongs to the event loop of the application."""

    def __init__(self, app: RequestMiddleware, settings: Settings) -> None:
        self._app, self._seconds = app, settings.limits.body_seconds
        self._key = None if settings.key is None else ApiKey(settings.key)
        # gRPC receives a whole message before anything of it can be counted.
        self._reads = asyncio.Semaphore(max(_LEAST_READS, largest() // settings.limits.body_bytes))
        self._tasks: set[asyncio.Task[None]] = set()

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Returns the handlers of all services."""
        inference = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
            "RepositoryIndex": self._repository_index,
        }
        methods = {name: self._method(f"{name}Request", respond) for name, respond in inference.items()}
        health = {"Check": self._method("HealthCheckRequest", self._check, needs_key=False)}
        for name in ("ServerLive", "ServerReady"):
            methods[name] = self._method(f"{name}Request", inference[name], needs_key=False)
        return [
            grpc.method_handlers_generic_handler(INFERENCE, methods),
            grpc.method_handlers_generic_handler(HEALTH, health),
        ]

    async def cancel(self) -> None:
        """Ends the requests in progress; their clients get the message that the server is stopping."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _method(
        self, name: str, respond: Callable[[Any, str], Awaitable[Any]], *, needs_key: bool = True
    ) -> grpc.RpcMethodHandler:
        """Returns the handler of a method.

        A stream of one message is the same bytes as a single message, and is read here, after the key and in time.
        """

        async def handle(messages: AsyncIterator[bytes], context: Any) -> Any:
            try:
                key = next((value for name, value in context.invocation_metadata() if name == "authorization"), "")
                is_rejected = needs_key and (self._app.stopping or not (self._key is None or self._key.matches(key)))
                if is_rejected:  # the application has the message; the client's is not received
                    await self._get("/v2", key)
                async with asyncio.timeout(self._seconds):
                    async with self._reads:
                        content = await anext(messages, b"")
                return await respond(_parsed(name, content), key)
            except TimeoutError:
                error = RequestError(408, f"expected the complete message within {self._seconds:g} s")
            except RequestError as found:
                error = found
            return await _abort(context, error)

        return grpc.stream_unary_rpc_method_handler(handle, response_serializer=_serialized)

    async def _server_live(self, request: Any, key: str) -> Any:
        return message("ServerLiveResponse")(**(await self._get("/v2/health/live", key)))

    async def _server_ready(self, request: Any, key: str) -> Any:
        return message("ServerReadyResponse")(**(await self._get("/v2/health/ready", key)))

    async def _check(self, request: Any, key: str) -> Any:
        if request.service not in ("", INFERENCE):
            raise RequestError(404, f"expected the service '{INFERENCE}' or none, found {short(request.service)}")
        is_ready = (await self._get("/v2/health/ready", key))["ready"]
        return message("HealthCheckResponse")(status="SERVING" if is_ready else "NOT_SERVING")

    async def _server_metadata(self, request: Any, key: str) -> Any:
        return message("ServerMetadataResponse")(**(await self._get("/v2", key)))

    async def _model_ready(self, request: Any, key: str) -> Any:
        found = await self._get(f"{_path(request.name, request.version)}/ready", key)
        return message("ModelReadyResponse")(ready=found["ready"])

    async def _model_metadata(self, request: Any, key: str) -> Any:
        return message("ModelMetadataResponse")(**(await self._get(_path(request.name, request.version), key)))

    async def _repository_index(self, request: Any, key: str) -> Any:
        models = json.loads((await self._ask("POST", "/v2/repository/index", key)).body)
        return message("RepositoryIndexResponse")(models=models)

    async def _model_infer(self, request: Any, key: str) -> Any:
        path = f"{_path(request.model_name, request.model_version)}/infer"
        is_large = request.ByteSize() > _LARGE
        body, head = await asyncio.to_thread(write_body, request) if is_large else write_body(request)
        typed = not request.raw_input_contents
        del request  # its memory: the pixels are in the body
        response = await self._ask("POST", path, key, body, {_LENGTH: str(head).encode()})
        return read_response(bytes(response.body), int(response.headers[_LENGTH]), typed=typed)

    async def _get(self, path: str, key: str) -> dict[str, Any]:
        return (await self._ask("GET", path, key)).document

    async def _ask(
        self, method: str, path: str, key: str, body: bytes = b"", headers: dict[bytes, bytes] | None = None
    ) -> _Response:
        """Returns the application's response to a request.

        Raises:
            RequestError: If the response is an error.
        """
        sent = {b"content-type": b"application/octet-stream", b"content-length": str(len(body)).encode()}
        sent |= {b"authorization": key.encode()} if key else {}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "2",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [*sent.items(), *(headers or {}).items()],
            "client": None,
            "server": None,
        }
        response, is_sent, is_disconnected = _Response(), False, asyncio.Event()

        async def receive() -> Message:
            nonlocal is_sent
            if not is_sent:
                is_sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            await is_disconnected.wait()
            return {"type": "http.disconnect"}

        async def send(part: Message) -> None:
            if part["type"] == "http.response.start":
                response.status, response.headers = part["status"], dict(part["headers"])
            else:
                response.body += part.get("body", b"")

        task = asyncio.create_task(self._app(scope, receive, send))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:  # the client has cancelled the call, or its deadline is over
            is_disconnected.set()
            raise
        except Exception:  # as uvicorn does; the response is the application's
            _log.exception("Exception in the application")
        if response.status >= 400 and "error" in response.document:
            after = response.headers.get(b"retry-after")
            raise RequestError(
                response.status, response.document["error"], {"Retry-After": after.decode()} if after else None
            )
        return response


def _path(name: str, version: str) -> str:
    if not name or "/" in name + version:
        found = f"{short(name)}, version {short(version)}"
        raise RequestError(404, f"expected the name and version of the model, found {found}")
    return f"/v2/models/{name}" + (f"/versions/{version}" if version else "")


def _parsed(name: str, content: bytes) -> Any:
    try:
        return message(name).FromString(content)
    except DecodeError as error:
        raise bad_request(f"a message {name}", "other bytes") from error


def _serialized(response: Any) -> bytes:
    found: bytes = response.SerializeToString()
    return found


async def _abort(context: Any, error: RequestError) -> NoReturn:
    """Ends a call with an error; clients with a retry policy wait for the milliseconds in the metadata (gRFC A6)."""
    after = error.headers.get("Retry-After")
    metadata = (("grpc-retry-pushback-ms", str(1000 * int(after))),) if after else ()
    await context.abort(_CODES.get(error.status, grpc.StatusCode.INTERNAL), error.message, metadata)
    raise AssertionError  # pragma: no cover  # `abort` raises
