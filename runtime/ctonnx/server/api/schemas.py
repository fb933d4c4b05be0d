"""Schemas of the OpenAPI document: JSON bodies of requests and responses."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, get_args

from ctonnx.artifacts.decision.rule import DecisionName
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.server.api.open_inference import output_shapes
from ctonnx.server.settings import Settings

__all__ = ["Json", "reference", "schemas"]

Json: TypeAlias = dict[str, Any]

_TEXT, _NUMBER, _FLAG = {"type": "string"}, {"type": "number"}, {"type": ["boolean", "null"]}
_COUNT = {"type": "integer", "minimum": 0}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_PERCENT = {"type": "number", "minimum": 0, "maximum": 100}


def reference(schema: str) -> Json:
    """Returns a reference to one of the schemas."""
    return {"$ref": f"#/components/schemas/{schema}"}


def schemas(spec: ModelSpec, settings: Settings) -> Json:
    """Returns all schemas by name."""
    size, optional_text = spec.preprocessing.size, _nullable(_TEXT)
    label = {**optional_text, "enum": [*spec.classes, None]}
    score = {**_nullable(_NUMBER), "minimum": 0}
    result = {
        "index": {**_COUNT, "description": "Index of the file in the request."},
        "file": {**optional_text, "description": "Name in a multipart body, with control characters escaped."},
        "frame": {**_nullable(_COUNT), "description": "Index of the frame, for a DICOM file with several."},
        "label": {**label, "description": "Predicted class; null after an error."},
        "probability": _nullable(_SHARE),
        "decision": {
            **_nullable(_TEXT),
            "enum": [*get_args(DecisionName), None],
            "description": "Decision about the image; null after an error and without an operating point.",
        },
        "reason": {**optional_text, "description": "Reason for `refer`."},
        "suspicious": {**_FLAG, "description": "Whether the decision is `positive`; null without one and for `refer`."},
        "score": {**score, "description": "Sum that is compared with the threshold of the operating point."},
        "set": {**_nullable(_list(_TEXT)), "description": "Prediction set: the classes that the image may have."},
        "probabilities": {"type": "object", "additionalProperties": _SHARE, "description": "In descending order."},
        "novelty": {**score, "description": "Distance from the training images; null for a model without it."},
        "novelty_percentile": {
            **_nullable(_PERCENT),
            "description": "Percentage of the images in `fitted_on` that are less novel.",
        },
        "unlike_training": {**_FLAG, "description": "Whether `novelty` exceeds the model's threshold."},
        "caution": {**optional_text, "description": "Warning about the image, for example a blank one."},
        "error": {**optional_text, "description": "Reason why the file could not be read."},
        "milliseconds": {**_NUMBER, "minimum": 0},
        "heatmap": optional_text,
        "scan": optional_text,
    }
    novelty = {
        **_nullable(_object({"threshold": _NUMBER, "quantile": _SHARE, "percentile": _PERCENT})),
        "description": "Highest novelty that is not flagged, share of images that it was fitted not to flag, and its "
        "percentile in `fitted_on`; null without.",
    }
    model = {
        **dict.fromkeys(("name", "run", "precision", "sha256"), _TEXT),
        "synthetic": {"type": "boolean"},
        "threshold": {**_nullable(_NUMBER), "description": "Minimum `score` of a suspicious image."},
        "coverage": {
            **_nullable(_SHARE),
            "description": "Promised share of the images of each class, if they are like those in `fitted_on`, with "
            "their class in the prediction set; null without sets.",
        },
        "coverage_not_promised": {
            **_list(_TEXT),
            "description": "Classes with too few images in `fitted_on` for this coverage.",
        },
        "fitted_on": {
            **_TEXT,
            "description": "Images that the threshold, the prediction sets and the novelty threshold were fitted on.",
        },
        "novelty": novelty,
        "positive": {**_list(_TEXT), "description": "Classes whose probabilities are summed for the `score`."},
    }
    tensor = {"name": _TEXT, "datatype": _TEXT, "shape": _list({"type": "integer"})}
    reshape = _object({"shape": _list({"type": "integer"})})
    configured = {"name": _TEXT, "data_type": _TEXT, "dims": _list({"type": "integer"}), "reshape": reshape}
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
        "data": {"type": "array", "description": "Whole numbers from 0 to 255, flat or nested like the shape."},
        "parameters": _nullable(_object({"binary_data_size": _nullable(_COUNT)}, optional=["binary_data_size"])),
    }
    wanted = {
        "name": {"enum": list(output_shapes(spec))},
        "parameters": _nullable(_object({"binary_data": _FLAG}, optional=["binary_data"])),
    }
    parameters = {"binary_data_output": _FLAG, "timeout": _nullable({**_COUNT, "description": "Microseconds."})}
    return {
        "Error": _object({"error": _TEXT}),
        "Model": _object(
            {
                **dict.fromkeys(("name", "run", "precision", "sha256", "provider"), _TEXT),
                "classes": _list(_TEXT),
                "image_size": _COUNT,
                "operating_point": {"type": ["object", "null"]},
                "decision": {**optional_text, "description": "Rule that decides about an image."},
                **{name: model[name] for name in ("coverage", "coverage_not_promised", "novelty", "fitted_on")},
                "history": {**_list(_TEXT), "description": "Each recalibration: when, on what, and what changed."},
                "acquisition": {"type": ["object", "null"], "description": "Facts of the training images."},
                "metrics": {"type": "object"},
                "trained_on": _TEXT,
                "leaks": {**optional_text, "description": "Leakage that makes the metrics optimistic, if known."},
                "shortcuts": {**optional_text, "description": "Facts but the anatomy that predict a class, if tested."},
                "caveats": {**_list(_TEXT), "description": "Limits of the metrics and the threshold."},
                "synthetic": {"type": "boolean"},
                "version": _TEXT,
                "formats": _list(_TEXT),
                "limits": _object(dict.fromkeys(("bytes", "pixels", "files"), _COUNT)),
                "key_required": {"type": "boolean"},
                "notice": _TEXT,
            }
        ),
        "Results": _object({"model": _object(model), "results": _list(_object(result))}),
        "Server": _object({"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)}),
        "Index": _list(_object(dict.fromkeys(("name", "version", "state", "reason"), _TEXT))),
        "Config": _object(
            {
                **dict.fromkeys(("name", "platform", "backend"), _TEXT),
                "max_batch_size": _COUNT,
                **dict.fromkeys(("input", "output"), _list(_object(configured, optional=["reshape"]))),
            }
        ),
        "ModelReady": _object({"name": _TEXT, "ready": {"type": "boolean"}}),
        "Metadata": _object(
            {
                "name": _TEXT,
                "versions": _list(_TEXT),
                "platform": _TEXT,
                "inputs": _list(_object(tensor)),
                "outputs": _list(_object(tensor)),
            }
        ),
        "InferRequest": _object(
            {
                "id": optional_text,
                "parameters": _nullable(_object(parameters, optional=list(parameters))),
                "inputs": {**_list(_object(given, optional=["data", "parameters"])), "minItems": 1, "maxItems": 1},
                "outputs": _nullable(_list(_object(wanted, optional=["parameters"]))),
            },
            optional=["id", "parameters", "outputs"],
        ),
        "InferAnswer": _object(
            {
                "model_name": _TEXT,
                "model_version": _TEXT,
                "id": _TEXT,
                "outputs": _list(_object({**tensor, "data": _list(_NUMBER)})),
            },
            optional=["id"],
        ),
    }


def _object(properties: Mapping[str, Any], *, optional: Sequence[str] = ()) -> Json:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": dict(properties)}


def _list(items: Mapping[str, Any]) -> Json:
    return {"type": "array", "items": dict(items)}


def _nullable(schema: Mapping[str, Any]) -> Json:
    return {**schema, "type": [schema["type"], "null"]}
