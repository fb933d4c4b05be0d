"""The routes of the server."""

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
from ctonnx.server.api.model_info import answering_model, model_facts
from ctonnx.server.api.open_inference import VERSION, model_metadata, read_request, server_metadata, write_answer
from ctonnx.server.api.openapi import document
from ctonnx.server.api.triton import NOT_DONE, model_config, repository_index
from ctonnx.server.engine.classification import Wanted
from ctonnx.server.engine.service import Service
from ctonnx.server.metrics import CONTENT_TYPE_LATEST, Metrics
from ctonnx.server.settings import Settings
from ctonnx.server.transport.errors import RequestError, shown
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
_SMALL = 1 << 16  # bytes of JSON that are read without a thread


def make_app(predictor: Predictor, settings: Settings, *, version: str) -> RequestMiddleware:
    """Returns the application.

    Args:
        predictor: that answers; it stays the caller's to close.
        settings: of the server.
        version: of ctonnx.
    """
    routes = _Routes(predictor, settings, version)
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
            RequestError: _refused,
            HTTPException: _http_error,
            ClientDisconnect: _gone,
            Exception: _unexpected,
        },
        lifespan=routes.lifespan,
    )
    app.router.redirect_slashes = (
        False  # `RequestMiddleware` takes a last slash; nobody is sent to what a Host header says
    )
    front = RequestMiddleware(app, routes.metrics.count_request)
    routes.front = front
    return front


class _Routes:
    front: RequestMiddleware
    service: Service

    def __init__(self, predictor: Predictor, settings: Settings, version: str) -> None:
        self._predictor, self._settings, self._version = predictor, settings, version
        self._facts = model_facts(predictor, settings, version=version)
        self._answering = answering_model(self._facts)
        self._name = str(self._facts["name"])
        self._openapi = document(self._name, predictor.spec, settings, version=version)
        self.metrics = Metrics(
            model=self._name, precision=predictor.spec.precision, provider=predictor.provider, version=version
        )

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self.service = Service(self._predictor, self._settings, self.metrics)
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
            *([] if self._name == "stats" else [Route("/v2/models/stats", _nothing)]),  # Triton's, of all its models
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
        is_ready = not self.front.stopping
        return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)

    async def server(self, request: Request) -> Response:
        return JSONResponse(server_metadata(self._version))

    async def metadata(self, request: Request) -> Response:
        self._refuse_another(request)
        return JSONResponse(model_metadata(self._name, self._predictor.spec))

    async def model_ready(self, request: Request) -> Response:
        self._refuse_another(request)
        return JSONResponse({"name": self._name, "ready": True})

    async def config(self, request: Request) -> Response:
        self._refuse_another(request)
        most = self._settings.limits.files
        return JSONResponse(model_config(self._name, self._predictor.spec, most=most))

    async def index(self, request: Request) -> Response:
        body = bytearray()
        with self.service.room.held() as take:
            await receive(request, body.extend, self._settings.limits, take)
            return JSONResponse(repository_index(self._name, body))

    async def classify(self, request: Request) -> Response:
        if unknown := set(request.query_params) - set(Wanted._fields):
            raise RequestError(
                400, f"expected {' and '.join(Wanted._fields)} alone after the ?, found {shown(sorted(unknown))}"
            )
        wanted = Wanted(*(_flag(request, name) for name in Wanted._fields))
        limits, service = self._settings.limits, self.service
        reader = file_reader(request.headers.get("content-type", ""), limits.files)
        service.refuse_when_full()
        with service.room.held() as take:
            await receive(request, reader.add, limits, take)
            reader.finish()
            with service.admitted(len(reader.contents)):
                results = await self._in_time(request, service.classify(reader, wanted, take))
            write = service.in_thread if any(wanted) else _at_once
            return await write(lambda: JSONResponse({"model": self._answering, "results": results}))

    async def infer(self, request: Request) -> Response:
        self._refuse_another(request)
        limits, service = self._settings.limits, self.service
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        length = request.headers.get(_LENGTH)
        if kind not in ("application/json", "application/octet-stream"):
            raise RequestError(
                415, f"expected a Content-Type of application/json or application/octet-stream, found {shown(kind)}"
            )
        service.refuse_when_full()
        body = bytearray()
        with service.room.held() as take:
            await receive(request, body.extend, limits, take)
            size = self._predictor.spec.preprocessing.size
            read = service.in_thread if length is None and len(body) > _SMALL else _at_once
            asked = await read(lambda: read_request(body, length, size=size, most=limits.files))
            with service.admitted(len(asked.pixels)):
                outputs = await self._in_time(request, service.infer(asked.pixels), asked.seconds)
        content, head = write_answer(self._name, asked, outputs)
        if head is None:
            return Response(content, media_type="application/json")
        return Response(content, media_type="application/octet-stream", headers={_LENGTH: str(head)})

    def _refuse_another(self, request: Request) -> None:
        name, version = request.path_params["name"], request.path_params.get("version", VERSION)
        if name != self._name or version != VERSION:
            found = f"{shown(name)}, version {shown(version)}"
            raise RequestError(404, f"expected the model '{self._name}', version '{VERSION}', found {found}")

    async def _in_time(self, request: Request, work: Coroutine[Any, Any, _Done], seconds: float | None = None) -> _Done:
        """Returns what work comes to, which ends when its time is over or its client has gone."""
        allowed = min(self._settings.limits.seconds, seconds or self._settings.limits.seconds)
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
        try:
            await asyncio.wait((task, gone), timeout=allowed, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if gone.done():
                raise ClientDisconnect
            raise RequestError(504, f"expected an answer within {1e3 * allowed:g} ms, and there is none yet")
        finally:
            task.cancel()
            gone.cancel()


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
        raise RequestError(400, f"expected {name} to be true or false, found {shown(value)}")
    return value == "true"


async def _refused(request: Request, error: Exception) -> Response:
    refusal = cast(RequestError, error)
    return JSONResponse({"error": refusal.sentence}, refusal.status, refusal.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    found = cast(HTTPException, error)
    is_tritons = request.url.path.startswith("/v2/")
    sentences = {
        404: f"there is nothing at this address; {NOT_DONE if is_tritons else '/openapi.json tells what there is'}",
        405: f"expected {(found.headers or {}).get('Allow', 'another method')} at this address, found {request.method}",
    }
    return JSONResponse({"error": sentences.get(found.status_code, found.detail)}, found.status_code, found.headers)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


async def _unexpected(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the server failed; its own log tells why"}, 500)
