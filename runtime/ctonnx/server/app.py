"""Routes of the server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, TypeVar, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ctonnx.prediction.predictor import Predictor
from ctonnx.server.api.model_info import model_facts, model_of_results
from ctonnx.server.api.open_inference import (
    VERSION,
    model_metadata,
    output_shapes,
    read_request,
    server_metadata,
    write_response,
)
from ctonnx.server.api.openapi import document
from ctonnx.server.api.triton import NOT_IMPLEMENTED, model_config, repository_index
from ctonnx.server.engine.classification import Pictures
from ctonnx.server.engine.service import Service
from ctonnx.server.monitoring.metrics import CONTENT_TYPE_LATEST, Metrics
from ctonnx.server.monitoring.usage_log import UsageLog
from ctonnx.server.settings import Settings
from ctonnx.server.transport.errors import RequestError, bad_request, short
from ctonnx.server.transport.middleware import ApiKeyMiddleware, RequestMiddleware
from ctonnx.server.transport.multipart import file_reader
from ctonnx.server.transport.uploads import receive

__all__ = ["make_app"]

_Done = TypeVar("_Done")
_LENGTH = "Inference-Header-Content-Length"
_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_SMALL = 1 << 16  # bytes of JSON that are parsed without a thread


def make_app(
    predictor: Predictor, settings: Settings, *, version: str, usage: UsageLog | None = None
) -> RequestMiddleware:
    """Returns the application, which counts in a log if there is one; the caller closes both."""
    routes = _Routes(predictor, settings, version, usage)
    middleware = []
    if settings.origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", _LENGTH],
            expose_headers=["Retry-After", _LENGTH],
        )
        middleware.append(cors)
    if settings.key is not None:
        middleware.append(Middleware(ApiKeyMiddleware, key=settings.key))
    app = Starlette(
        routes=routes.all(),
        middleware=middleware,
        exception_handlers={
            RequestError: _request_error,
            HTTPException: _http_error,
            ClientDisconnect: _disconnected,
            Exception: _internal_error,
        },
        lifespan=routes.lifespan,
    )
    # `RequestMiddleware` removes a last slash, without a redirect to the client's Host header.
    app.router.redirect_slashes = False
    routes.outermost = RequestMiddleware(app, routes.metrics.count_request)
    return routes.outermost


class _Routes:
    outermost: RequestMiddleware
    service: Service

    def __init__(self, predictor: Predictor, settings: Settings, version: str, usage: UsageLog | None) -> None:
        self._predictor, self._settings, self._version, self._usage = predictor, settings, version, usage
        self._facts = model_facts(predictor, settings, version=version)
        self._model_of_results = model_of_results(self._facts)
        self._name = str(self._facts["name"])
        self._openapi = document(self._name, predictor.spec, settings, version=version)
        self.metrics = Metrics(
            model=self._name, precision=predictor.spec.precision, provider=predictor.provider, version=version
        )

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self.service = Service(self._predictor, self._settings, self.metrics, self._usage)
        try:
            yield
        finally:
            self.service.close()

    def all(self) -> list[Route]:
        return [
            *[Route(path, _page(*page)) for path, page in _PAGE.items()],
            Route("/v1/model", self.model),
            Route("/v1/classify", self.classify, methods=["POST"]),
            Route("/v2", self.server),
            Route("/v2/repository/index", self.index, methods=["POST"]),
            *([] if self._name == "stats" else [Route("/v2/models/stats", _nothing)]),  # Triton's statistics
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
            *[
                route
                for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
                for route in (
                    Route(path, self.metadata),
                    Route(f"{path}/ready", self.model_ready),
                    Route(f"{path}/config", self.config),
                    Route(f"{path}/infer", self.infer, methods=["POST"]),
                )
            ],
            Route("/metrics", self.prometheus),
            Route("/openapi.json", self.openapi),
        ]

    async def model(self, request: Request) -> Response:
        return JSONResponse(self._facts)

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(self._openapi)

    async def prometheus(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def live(self, request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        is_ready = not self.outermost.stopping
        return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)

    async def server(self, request: Request) -> Response:
        return JSONResponse(server_metadata(self._version))

    async def metadata(self, request: Request) -> Response:
        self._check_model(request)
        return JSONResponse(model_metadata(self._name, self._predictor.spec))

    async def model_ready(self, request: Request) -> Response:
        self._check_model(request)
        return JSONResponse({"name": self._name, "ready": True})

    async def config(self, request: Request) -> Response:
        self._check_model(request)
        return JSONResponse(model_config(self._name, self._predictor.spec, max_images=self._settings.limits.files))

    async def index(self, request: Request) -> Response:
        body = bytearray()
        with self.service.memory.reservation() as reserve:
            await receive(request, body.extend, self._settings.limits, reserve)
            return JSONResponse(repository_index(self._name, body))

    async def classify(self, request: Request) -> Response:
        if unknown := set(request.query_params) - set(Pictures._fields):
            raise bad_request(f"only {' and '.join(Pictures._fields)} after the ?", short(sorted(unknown)))
        pictures = Pictures(*(_flag(request, name) for name in Pictures._fields))
        limits, service = self._settings.limits, self.service
        reader = file_reader(request.headers.get("content-type", ""), limits.files)
        service.check_queue()
        with service.memory.reservation() as reserve:
            await receive(request, reader.add, limits, reserve)
            reader.finish()
            with service.admitted(len(reader.contents)):
                results = await self._in_time(request, service.classify(reader, pictures, reserve))
            write = service.in_thread if any(pictures) else _at_once
            return await write(lambda: JSONResponse({"model": self._model_of_results, "results": results}))

    async def infer(self, request: Request) -> Response:
        self._check_model(request)
        limits, service = self._settings.limits, self.service
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        length = request.headers.get(_LENGTH)
        if kind not in ("application/json", "application/octet-stream"):
            expected = "expected a Content-Type of application/json or application/octet-stream"
            raise RequestError(415, f"{expected}, found {short(kind)}")
        service.check_queue()
        body = bytearray()
        with service.memory.reservation() as reserve:
            await receive(request, body.extend, limits, reserve)
            size, names = self._predictor.spec.preprocessing.size, tuple(output_shapes(self._predictor.spec))
            read = service.in_thread if length is None and len(body) > _SMALL else _at_once
            query = await read(lambda: read_request(body, length, size=size, max_images=limits.files, names=names))
            with service.admitted(len(query.pixels)):
                outputs = await self._in_time(request, service.infer(query.pixels), query.seconds)
        content, head = write_response(self._name, query, outputs)
        if head is None:
            return Response(content, media_type="application/json")
        return Response(content, media_type="application/octet-stream", headers={_LENGTH: str(head)})

    def _check_model(self, request: Request) -> None:
        name, version = request.path_params["name"], request.path_params.get("version", VERSION)
        if name != self._name or version != VERSION:
            found = f"{short(name)}, version {short(version)}"
            raise RequestError(404, f"expected the model '{self._name}', version '{VERSION}', found {found}")

    async def _in_time(self, request: Request, work: Coroutine[Any, Any, _Done], seconds: float | None = None) -> _Done:
        """Returns the result of work, which is cancelled if its time is over or the client disconnects."""
        allowed = min(self._settings.limits.seconds, seconds or self._settings.limits.seconds)
        task, disconnected = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
        try:
            await asyncio.wait((task, disconnected), timeout=allowed, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if disconnected.done():
                raise ClientDisconnect
            raise RequestError(504, f"expected a result within {1e3 * allowed:g} ms, found none yet")
        finally:
            task.cancel()
            disconnected.cancel()


async def _nothing(request: Request) -> Response:
    raise HTTPException(404)


def _page(name: str, kind: str) -> Any:
    file = files("ctonnx.server") / "page" / name
    content = file.read_bytes() if file.is_file() else None

    async def page(request: Request) -> Response:
        if content is None:
            raise HTTPException(404)
        return Response(content, media_type=kind)

    return page


async def _at_once(function: Callable[[], _Done]) -> _Done:
    return function()


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "false")
    if value not in ("true", "false"):
        raise bad_request(f"{name} to be true or false", short(value))
    return value == "true"


async def _request_error(request: Request, error: Exception) -> Response:
    found = cast(RequestError, error)
    return JSONResponse({"error": found.message}, found.status, found.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    found = cast(HTTPException, error)
    hint = NOT_IMPLEMENTED if request.url.path.startswith("/v2/") else "/openapi.json lists all addresses"
    messages = {
        404: f"there is nothing at this address; {hint}",
        405: f"expected {(found.headers or {}).get('Allow', 'another method')} at this address, found {request.method}",
    }
    return JSONResponse({"error": messages.get(found.status_code, found.detail)}, found.status_code, found.headers)


async def _disconnected(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # not received by the client


async def _internal_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "internal server error; see the server's log"}, 500)
