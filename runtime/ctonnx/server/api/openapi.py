"""The document behind `/openapi.json`: every address, what it takes, and each status that it answers with.

Source: https://spec.openapis.org/oas/v3.1.1
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity.outputs import OUTPUT_NAMES
from ctonnx.server.api.model_info import NOTICE
from ctonnx.server.api.open_inference import VERSION
from ctonnx.server.settings import Settings

__all__ = ["document"]

_Json = dict[str, Any]

_ERRORS = {
    400: "The request is malformed; the sentence says what was expected.",
    401: "The key is missing or another one.",
    404: "This server has another model.",
    408: "The body did not come in time.",
    413: "The body is too large, or holds too many files.",
    415: "The body is of a type that is not read here, or encoded.",
    503: "Too much is under way, or the server is stopping; try again after `Retry-After` seconds.",
    504: "The answer did not come in time.",
}
_BODY = (400, 408, 413, 415, 504)  # what a request with a body can come to
_NULLABLE_TEXT = {"type": ["string", "null"]}
_COUNT = {"type": "integer", "minimum": 0}


def document(name: str, spec: ModelSpec, settings: Settings, *, version: str) -> dict[str, Any]:
    """Returns the document.

    Args:
        name: of the model.
        spec: of the model.
        settings: of the server.
        version: of ctonnx.
    """
    operations = _Operations(with_key=settings.key is not None)
    read = operations.read
    paths: _Json = {
        "/v1/model": read("model", "What the model is, what it was measured on, and the server's limits.", "Model"),
        "/v1/classify": {"post": operations.classify(settings)},
        "/v2": read("server", "The server's name, version and extensions.", "Server"),
        "/v2/repository/index": {"post": operations.index()},
        "/v2/health/live": operations.probe("live", "Whether the server runs.", stops=False),
        "/v2/health/ready": operations.probe("ready", "Whether the server takes requests.", stops=True),
        "/metrics": operations.text("metrics", "Counters in Prometheus' text format."),
        "/openapi.json": read("openapi", "This document.", None),
    }
    for part, parameters in (("", [_name(name)]), ("/versions/{version}", [_name(name), _path("version", VERSION)])):
        kind = "version" if part else "model"
        for ending, summary, schema in (
            ("", "The model's inputs and outputs.", "Metadata"),
            ("/ready", "Whether the model takes requests.", "ModelReady"),
            ("/config", "The model's configuration in Triton's form.", "Config"),
        ):
            paths[f"/v2/models/{{name}}{part}{ending}"] = {
                "parameters": parameters,
                **read(f"{kind}{ending.replace('/', '_')}_metadata", summary, schema, also=(404,)),
            }
        paths[f"/v2/models/{{name}}{part}/infer"] = {"parameters": parameters, "post": operations.infer(kind)}
    components: _Json = {"schemas": _schemas(spec, settings)}
    if settings.key is not None:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "ctonnx", "version": version, "description": NOTICE, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": components,
    }


class _Operations:
    """Writes operations, each with the statuses that every one has."""

    def __init__(self, *, with_key: bool) -> None:
        self._with_key = with_key

    def read(self, identity: str, summary: str, schema: str | None, *, also: Sequence[int] = ()) -> _Json:
        content = {"application/json": {"schema": _reference(schema) if schema else {"type": "object"}}}
        return {"get": self._operation(identity, summary, content, also)}

    def text(self, identity: str, summary: str) -> _Json:
        return {"get": self._operation(identity, summary, {"text/plain": {"schema": {"type": "string"}}}, ())}

    def probe(self, word: str, summary: str, *, stops: bool) -> _Json:
        schema = {"type": "object", "required": [word], "properties": {word: {"type": "boolean"}}}
        content = {"application/json": {"schema": schema}}
        responses: _Json = {"200": {"description": "It does.", "content": content}}
        if stops:
            responses["503"] = {"description": "It does not.", "content": content}
        return {"get": {"operationId": word, "summary": summary, "responses": responses, "security": []}}

    def classify(self, settings: Settings) -> _Json:
        limits = settings.limits
        content = {"application/json": {"schema": _reference("Results")}}
        operation = self._operation("classify", "Classifies one or several files.", content, _BODY)
        operation["description"] = (
            f"A raw body is one file; a multipart body holds up to {limits.files}, whose names come back. A body "
            f"has at most {limits.body_bytes} bytes, an image at most {limits.pixels} pixels. A file that cannot be "
            "read is a result with its error, in its place. No upload is kept."
        )
        operation["parameters"] = [
            _query("heatmap", "Whether results hold a picture of what spoke for their class, as a data URL."),
            _query("scan", "Whether results hold the scan as it was decoded, as a data URL."),
        ]
        files = {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "maxItems": limits.files,
        }
        form = {"type": "object", "required": ["file"], "properties": {"file": files}, "additionalProperties": False}
        raw = {"schema": {"type": "string", "format": "binary", "minLength": 1, "maxLength": limits.body_bytes}}
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

    def index(self) -> _Json:
        content = {"application/json": {"schema": _reference("Index")}}
        operation = self._operation(
            "repository_index", "Which models there are: this one.", content, (400, 408, 413, 415)
        )
        schema = {"type": "object", "properties": {"ready": {"type": ["boolean", "null"]}}}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
        return operation

    def infer(self, kind: str) -> _Json:
        content = {
            "application/json": {"schema": _reference("InferAnswer")},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        }
        operation = self._operation(f"{kind}_infer", "Answers for pixels.", content, (*_BODY, 404))
        operation["description"] = (
            "The Open Inference Protocol v2, with the extension for binary tensors: with the header "
            "`Inference-Header-Content-Length` the body is so many bytes of JSON and after them the tensor's bytes; an "
            "answer with binary outputs has the same form and header."
        )
        length = {"type": "integer", "minimum": 1}
        operation["parameters"] = [{"name": "Inference-Header-Content-Length", "in": "header", "schema": length}]
        operation["responses"]["200"]["headers"] = {
            "Inference-Header-Content-Length": {"description": "Bytes of JSON.", "schema": length}
        }
        binary = {"schema": {"type": "string", "format": "binary"}}
        json = {"schema": _reference("InferRequest")}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": json, "application/octet-stream": binary},
        }
        return operation

    def _operation(self, identity: str, summary: str, content: Mapping[str, Any], also: Sequence[int]) -> _Json:
        statuses = {*also, 503, *([401] if self._with_key else [])}
        responses: _Json = {"200": {"description": "Done.", "content": content}}
        for status in sorted(statuses):
            schema = {"application/json": {"schema": _reference("Error")}}
            responses[str(status)] = {"description": _ERRORS[status], "content": schema}
        responses["503"]["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
        security: _Json = {"security": [{"key": []}]} if self._with_key else {}
        return {"operationId": identity, "summary": summary, "responses": responses, **security}


def _reference(schema: str) -> _Json:
    return {"$ref": f"#/components/schemas/{schema}"}


def _query(name: str, description: str) -> _Json:
    schema = {"type": "boolean", "default": False}
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _path(name: str, value: str) -> _Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "enum": [value]}}


def _name(name: str) -> _Json:
    return _path("name", name)


def _object(properties: Mapping[str, Any], *, optional: Sequence[str] = ()) -> _Json:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": dict(properties)}


def _list(items: Mapping[str, Any]) -> _Json:
    return {"type": "array", "items": dict(items)}


def _nullable(schema: Mapping[str, Any]) -> _Json:
    return {**schema, "type": [schema["type"], "null"]}


def _schemas(spec: ModelSpec, settings: Settings) -> _Json:
    size, text, number = spec.preprocessing.size, {"type": "string"}, {"type": "number"}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    flag = {"type": ["boolean", "null"]}
    label = {"type": ["string", "null"], "enum": [*spec.classes, None]}
    result = {
        "index": {**_COUNT, "description": "Of the file in the request."},
        "file": {**_NULLABLE_TEXT, "description": "Its name in a multipart body, control characters escaped."},
        "frame": {"type": ["integer", "null"], "minimum": 0, "description": "Of a DICOM file with several."},
        "label": {**label, "description": "The most probable class; null where there is an error."},
        "probability": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "suspicious": {"type": ["boolean", "null"], "description": "By the operating point; null where there is none."},
        "score": {"type": ["number", "null"], "minimum": 0, "description": "Decides, by the operating point."},
        "probabilities": {"type": "object", "additionalProperties": share, "description": "The most probable first."},
        "caution": {**_NULLABLE_TEXT, "description": "Why the answer should be doubted, as of a blank image."},
        "error": {**_NULLABLE_TEXT, "description": "What is wrong with the file."},
        "milliseconds": {"type": "number", "minimum": 0},
        "heatmap": _NULLABLE_TEXT,
        "scan": _NULLABLE_TEXT,
    }
    answering = {
        **dict.fromkeys(("name", "run", "precision", "sha256"), text),
        "synthetic": {"type": "boolean"},
        "threshold": {"type": ["number", "null"], "description": "From which `score` on it calls an image suspicious."},
        "positive": {**_list(text), "description": "The classes whose probabilities make the `score`."},
    }
    tensor = {"name": text, "datatype": text, "shape": _list({"type": "integer"})}
    configured = {"name": text, "data_type": text, "dims": _list({"type": "integer"})}
    rows = {"type": "integer", "minimum": 1, "maximum": settings.limits.files}
    shape = {
        "type": "array",
        "prefixItems": [rows, {"const": size}, {"const": size}, {"const": 3}],
        "minItems": 4,
        "maxItems": 4,
    }
    given = {
        "name": {"const": "pixels"},
        "datatype": {"const": "UINT8"},
        "shape": shape,
        "data": {"type": "array", "description": "Whole numbers from 0 to 255, flat or nested as the shape."},
        "parameters": _nullable(_object({"binary_data_size": _nullable(_COUNT)}, optional=["binary_data_size"])),
    }
    wanted = {
        "name": {"enum": list(OUTPUT_NAMES)},
        "parameters": _nullable(_object({"binary_data": flag}, optional=["binary_data"])),
    }
    parameters = {"binary_data_output": flag, "timeout": _nullable({**_COUNT, "description": "Microseconds."})}
    return {
        "Error": _object({"error": text}),
        "Model": _object(
            {
                **dict.fromkeys(("name", "run", "precision", "sha256", "provider"), text),
                "classes": _list(text),
                "image_size": _COUNT,
                "operating_point": {"type": ["object", "null"]},
                "metrics": {"type": "object"},
                "trained_on": text,
                "leaks": {
                    **_NULLABLE_TEXT,
                    "description": "Why the metrics flatter; null where nothing is known.",
                },
                "caveats": {**_list(text), "description": "What limits the trust in the metrics and the threshold."},
                "synthetic": {"type": "boolean"},
                "version": text,
                "formats": _list(text),
                "limits": _object(dict.fromkeys(("bytes", "pixels", "files"), _COUNT)),
                "key_required": {"type": "boolean"},
                "notice": text,
            }
        ),
        "Results": _object({"model": _object(answering), "results": _list(_object(result))}),
        "Server": _object({"name": text, "version": text, "extensions": _list(text)}),
        "Index": _list(_object(dict.fromkeys(("name", "version", "state", "reason"), text))),
        "Config": _object(
            {
                **dict.fromkeys(("name", "platform", "backend"), text),
                "max_batch_size": _COUNT,
                **dict.fromkeys(("input", "output"), _list(_object(configured))),
            }
        ),
        "ModelReady": _object({"name": text, "ready": {"type": "boolean"}}),
        "Metadata": _object(
            {
                "name": text,
                "versions": _list(text),
                "platform": text,
                "inputs": _list(_object(tensor)),
                "outputs": _list(_object(tensor)),
            }
        ),
        "InferRequest": _object(
            {
                "id": _NULLABLE_TEXT,
                "parameters": _nullable(_object(parameters, optional=list(parameters))),
                "inputs": {**_list(_object(given, optional=["data", "parameters"])), "minItems": 1, "maxItems": 1},
                "outputs": _nullable(_list(_object(wanted, optional=["parameters"]))),
            },
            optional=["id", "parameters", "outputs"],
        ),
        "InferAnswer": _object(
            {
                "model_name": text,
                "model_version": text,
                "id": text,
                "outputs": _list(_object({**tensor, "data": _list(number)})),
            },
            optional=["id"],
        ),
    }
