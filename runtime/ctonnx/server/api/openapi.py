"""The OpenAPI document: every address with its parameters, bodies and the status codes of its responses.

Source: https://spec.openapis.org/oas/v3.1.1
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.server.api.model_info import NOTICE
from ctonnx.server.api.open_inference import VERSION
from ctonnx.server.api.schemas import Json, reference, schemas
from ctonnx.server.settings import Settings

__all__ = ["document"]

_ERRORS = {
    400: "The request is malformed; the error names what was expected.",
    401: "The key is missing or wrong.",
    404: "The server has no such model or version.",
    408: "The body was not complete within the time limit.",
    413: "The body is too large or contains too many files.",
    415: "The type of the body is not supported, or the body is encoded.",
    503: "The server is overloaded or stopping; try again after `Retry-After` seconds.",
    504: "There was no result within the time limit.",
}
_BODY = (400, 408, 413, 415, 504)  # statuses of requests with a body
_BINARY = {"type": "string", "format": "binary"}


def document(name: str, spec: ModelSpec, settings: Settings, *, version: str) -> dict[str, Any]:
    """Returns the document for the model with this name."""
    operations = _Operations(with_key=settings.key is not None)
    read = operations.read
    paths: Json = {
        "/v1/model": read("model", "The model, its metrics, and the server's limits.", "Model"),
        "/v1/classify": {"post": operations.classify(settings)},
        "/v2": read("server", "The server's name, version and extensions.", "Server"),
        "/v2/repository/index": {"post": operations.index()},
        "/v2/health/live": operations.probe("live", "Whether the server is running.", stops=False),
        "/v2/health/ready": operations.probe("ready", "Whether the server accepts requests.", stops=True),
        "/metrics": {"get": operations.metrics()},
        "/openapi.json": read("openapi", "This document.", None),
    }
    of_model, of_version = _path("name", name), _path("version", VERSION)
    for part, parameters in (("", [of_model]), ("/versions/{version}", [of_model, of_version])):
        kind = "version" if part else "model"
        for ending, summary, schema in (
            ("", "The model's inputs and outputs.", "Metadata"),
            ("/ready", "Whether the model accepts requests.", "ModelReady"),
            ("/config", "The model's configuration in Triton's format.", "Config"),
        ):
            paths[f"/v2/models/{{name}}{part}{ending}"] = {
                "parameters": parameters,
                **read(f"{kind}{ending.replace('/', '_')}_metadata", summary, schema, also=(404,)),
            }
        paths[f"/v2/models/{{name}}{part}/infer"] = {"parameters": parameters, "post": operations.infer(kind)}
    components: Json = {"schemas": schemas(spec, settings)}
    if settings.key is not None:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "ctonnx", "version": version, "description": NOTICE, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": components,
    }


class _Operations:
    """Makes operations with the statuses that all of them have in common."""

    def __init__(self, *, with_key: bool) -> None:
        self._with_key = with_key

    def read(self, identity: str, summary: str, schema: str | None, *, also: Sequence[int] = ()) -> Json:
        content = _json(reference(schema) if schema else {"type": "object"})
        return {"get": self._operation(identity, summary, content, also)}

    def metrics(self) -> Json:
        content = {"text/plain": {"schema": {"type": "string"}}}
        return self._operation("metrics", "Metrics in Prometheus' text format.", content, ())

    def probe(self, word: str, summary: str, *, stops: bool) -> Json:
        content = _json({"type": "object", "required": [word], "properties": {word: {"type": "boolean"}}})
        responses: Json = {"200": {"description": "Yes.", "content": content}}
        if stops:
            responses["503"] = {"description": "No.", "content": content}
        return {"get": {"operationId": word, "summary": summary, "responses": responses, "security": []}}

    def classify(self, settings: Settings) -> Json:
        limits = settings.limits
        operation = self._operation("classify", "Classify one or several files.", _json(reference("Results")), _BODY)
        operation["description"] = (
            f"A raw body is one file; a multipart body has up to {limits.files} files, whose names are returned. A "
            f"body has at most {limits.body_bytes} bytes, an image at most {limits.pixels} pixels. A file that cannot "
            "be read has a result with its error. No upload is stored."
        )
        operation["parameters"] = [
            _query("heatmap", "Whether results include the heatmap of the predicted class, as a data URL."),
            _query("scan", "Whether results include the decoded scan, as a data URL."),
        ]
        files = {"type": "array", "items": _BINARY, "minItems": 1, "maxItems": limits.files}
        form = {"type": "object", "required": ["file"], "properties": {"file": files}, "additionalProperties": False}
        raw = {"schema": {**_BINARY, "minLength": 1, "maxLength": limits.body_bytes}}
        operation["requestBody"] = {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "application/octet-stream": raw,
                "application/dicom": raw,
                "image/*": raw,
            },
        }
        return operation

    def index(self) -> Json:
        content, statuses = _json(reference("Index")), (400, 408, 413, 415)
        operation = self._operation("repository_index", "List of models: the served one.", content, statuses)
        schema = {"type": "object", "properties": {"ready": {"type": ["boolean", "null"]}}}
        operation["requestBody"] = {"content": _json(schema)}
        return operation

    def infer(self, kind: str) -> Json:
        binary = {"application/octet-stream": {"schema": _BINARY}}
        content = {**_json(reference("InferAnswer")), **binary}
        operation = self._operation(f"{kind}_infer", "Run the model on pixels.", content, (*_BODY, 404))
        operation["description"] = (
            "The Open Inference Protocol v2 with the extension for binary tensors: if the header "
            "`Inference-Header-Content-Length` is set, it is the number of bytes of JSON, and the tensor's bytes "
            "follow; a response with binary outputs has the same format and header."
        )
        length = {"type": "integer", "minimum": 1}
        operation["parameters"] = [{"name": "Inference-Header-Content-Length", "in": "header", "schema": length}]
        operation["responses"]["200"]["headers"] = {
            "Inference-Header-Content-Length": {"description": "Bytes of JSON.", "schema": length}
        }
        operation["requestBody"] = {"required": True, "content": {**_json(reference("InferRequest")), **binary}}
        return operation

    def _operation(self, identity: str, summary: str, content: Mapping[str, Any], also: Sequence[int]) -> Json:
        statuses = {*also, 503, *([401] if self._with_key else [])}
        responses: Json = {"200": {"description": "Done.", "content": content}}
        for status in sorted(statuses):
            responses[str(status)] = {"description": _ERRORS[status], "content": _json(reference("Error"))}
        responses["503"]["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
        security: Json = {"security": [{"key": []}]} if self._with_key else {}
        return {"operationId": identity, "summary": summary, "responses": responses, **security}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _query(name: str, description: str) -> Json:
    schema = {"type": "boolean", "default": False}
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _path(name: str, value: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "enum": [value]}}
