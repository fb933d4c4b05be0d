"""Open Inference Protocol v2: metadata, requests and responses, with JSON tensors and the binary extension.

Sources: https://github.com/open-inference/open-inference-protocol/blob/main/specification/protocol/inference_rest.md,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity.outputs import NOVELTY, OUTPUT_NAMES, Outputs, output_names
from ctonnx.server.transport.errors import RequestError, bad_request, short

__all__ = [
    "VERSION",
    "InferRequest",
    "flag",
    "model_metadata",
    "output_shapes",
    "read_request",
    "server_metadata",
    "write_response",
]

VERSION = "1"
"""The only version of the model."""


@dataclass(frozen=True, eq=False)
class InferRequest:
    """A request for inference.

    Attributes:
        pixels: uint8 [images, size, size, 3].
        outputs: Names of the requested outputs in order, each with whether it is returned as bytes instead of JSON.
        id: Identifier from the client; empty if it sent none.
        seconds: Time limit from the client; None if it sent none.
    """

    pixels: NDArray[np.uint8]
    outputs: Sequence[tuple[str, bool]]
    id: str = ""
    seconds: float | None = None


def server_metadata(version: str) -> dict[str, Any]:
    """Returns the response of `/v2`."""
    return {"name": "ctonnx", "version": version, "extensions": ["binary_tensor_data", "model_configuration"]}


def model_metadata(name: str, spec: ModelSpec) -> dict[str, Any]:
    """Returns the response of `/v2/models/NAME`."""
    size = spec.preprocessing.size
    return {
        "name": name,
        "versions": [VERSION],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [-1, size, size, 3]}],
        "outputs": [
            {"name": output, "datatype": "FP32", "shape": shape} for output, shape in output_shapes(spec).items()
        ],
    }


def output_shapes(spec: ModelSpec) -> dict[str, list[int]]:
    """Returns the shape of each output of a model by name, in their order; -1 is the batch.

    The novelty, one number for each image, has an axis of its own: Triton's configuration allows no empty shape.
    """
    classes, cells = len(spec.classes), math.ceil(spec.preprocessing.size / 32)
    shapes = {
        "probabilities": [-1, classes],
        "logits": [-1, classes],
        "heatmap": [-1, classes, cells, cells],
        NOVELTY: [-1, 1],
    }
    return {name: shapes[name] for name in output_names([NOVELTY] if spec.novelty else [])}


def read_request(
    body: bytes | bytearray,
    header_length: str | None,
    *,
    size: int,
    max_images: int,
    names: Sequence[str] = OUTPUT_NAMES,
) -> InferRequest:
    """Reads a request: the bytes of JSON that `Inference-Header-Content-Length` counts, then binary tensors.

    The names are those of the model's outputs, all of which are returned if the request names none.

    Raises:
        RequestError: If the request is invalid for this model.
    """
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit()) or not 0 < int(header_length[:12]) <= length:
            expected = f"an Inference-Header-Content-Length from 1 to the body's {length} bytes"
            raise bad_request(expected, short(header_length))
        length = int(header_length[:12])
    document = _json(body[:length])
    parameters = _object(document, "parameters")
    identity = "" if document.get("id") is None else document["id"]
    if not isinstance(identity, str):
        raise bad_request("a string as id", short(identity))
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        found = f"{len(inputs)} inputs" if isinstance(inputs, list) and len(inputs) != 1 else short(inputs)
        raise bad_request("one input, 'pixels', in a list of inputs", found)
    pixels = _pixels(inputs[0], memoryview(body)[length:], size=size, max_images=max_images)
    return InferRequest(pixels, _outputs(document, parameters, names), identity, _seconds(parameters))


def write_response(name: str, request: InferRequest, outputs: Outputs) -> tuple[bytes, int | None]:
    """Returns a response's body, and the number of its bytes that are JSON if binary tensors follow, else None.

    Raises:
        ValueError: If an output in JSON is not a number.
    """
    tensors, binary = [], []
    for output, as_bytes in request.outputs:
        values: NDArray[np.float32] = getattr(outputs, output)
        shape = [*values.shape, 1] if output == NOVELTY else list(values.shape)  # as in `output_shapes`
        tensor: dict[str, Any] = {"name": output, "datatype": "FP32", "shape": shape}
        if as_bytes:
            data = values.astype("<f4", copy=False).tobytes()
            tensor["parameters"] = {"binary_data_size": len(data)}
            binary.append(data)
        else:
            tensor["data"] = values.ravel().tolist()
        tensors.append(tensor)
    document: dict[str, Any] = {"model_name": name, "model_version": VERSION, "outputs": tensors}
    if request.id:
        document["id"] = request.id
    head = json.dumps(document, allow_nan=False).encode()
    return b"".join([head, *binary]), len(head) if binary else None


def _json(text: bytes | bytearray) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise bad_request("a JSON object", f"invalid JSON ({error})") from error
    except UnicodeDecodeError as error:
        raise bad_request("a JSON object", "binary data; check Inference-Header-Content-Length") from error
    except (ValueError, RecursionError) as error:
        raise bad_request("a JSON object", "too deep nesting or too long a number") from error
    if not isinstance(document, dict):
        raise bad_request("a JSON object", short(document))
    return document


def _object(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key)
    if found is None:  # generated clients send null for optional fields
        return {}
    if not isinstance(found, dict):
        raise bad_request(f"{key} to be a JSON object", short(found))
    return found


def _outputs(
    document: Mapping[str, Any], parameters: Mapping[str, Any], names: Sequence[str]
) -> list[tuple[str, bool]]:
    default = flag(parameters, "binary_data_output")
    wanted = document.get("outputs") or [{"name": name} for name in names]
    if not isinstance(wanted, list) or not all(isinstance(item, dict) for item in wanted):
        raise bad_request("outputs to be a list of JSON objects", short(wanted))
    found: dict[str, bool] = {}
    for item in wanted:
        name, options = item.get("name"), _object(item, "parameters")
        if name not in names or name in found:
            twice = " twice" if name in names else ""
            raise bad_request(f"outputs of {', '.join(names)}, each once", f"{short(name)}{twice}")
        if options.get("classification"):
            raise RequestError(400, "expected outputs without classification, which this server does not support")
        found[name] = default if options.get("binary_data") is None else flag(options, "binary_data")
    return list(found.items())


def flag(parameters: Mapping[str, Any], name: str) -> bool:
    """Returns a parameter that is true, false or absent; raises a RequestError for anything else."""
    value = parameters.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad_request(f"{name} to be true or false", short(value))
    return bool(value)


def _seconds(parameters: Mapping[str, Any]) -> float | None:
    """Returns a client's `timeout`, which Triton's clients send in microseconds, in seconds."""
    value = parameters.get("timeout")
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < 2**63:
        raise bad_request("a timeout in whole microseconds", short(value))
    return value / 1e6 or None


def _pixels(tensor: Mapping[str, Any], binary: memoryview, *, size: int, max_images: int) -> NDArray[np.uint8]:
    shape = tensor.get("shape")
    if tensor.get("name") != "pixels" or tensor.get("datatype") != "UINT8":
        found = f"{short(tensor.get('name'))} of {short(tensor.get('datatype'))}"
        raise bad_request("an input 'pixels' of datatype UINT8", found)
    if not isinstance(shape, list) or not all(type(side) is int for side in shape) or shape[1:] != [size, size, 3]:
        raise bad_request(f"a shape of [images, {size}, {size}, 3]", short(shape))
    if not 1 <= shape[0] <= max_images:
        end = "; send them in several requests" if shape[0] > max_images else ""
        raise bad_request(f"1 to {max_images} images", f"{shape[0]}{end}")
    count = math.prod(shape)
    declared = _object(tensor, "parameters").get("binary_data_size")
    if (declared is None) != (tensor.get("data") is not None):
        raise bad_request("either data or a binary_data_size", "neither" if declared is None else "both")
    if declared is not None:
        if type(declared) is not int or declared != count or len(binary) != count:
            found = f"{len(binary)}, and a binary_data_size of {short(declared)}"
            raise bad_request(f"{count} bytes of binary data", found)
        return np.frombuffer(binary, np.uint8).reshape(shape)
    if len(binary):
        raise bad_request("no bytes after the JSON, which contains the input's data", len(binary))
    expected = f"{count} whole numbers from 0 to 255 as data, flat or nested like the shape"
    try:
        values = np.asarray(tensor["data"])
    except (ValueError, OverflowError) as error:
        raise bad_request(expected, "lists of different lengths, or a number too large") from error
    if values.dtype.kind not in "iu" or values.shape not in ((count,), tuple(shape)):
        kind = "" if values.dtype.kind in "iu" else ", not all whole numbers"
        raise bad_request(expected, f"a shape of {short(list(values.shape))}{kind}")
    if values.min() < 0 or values.max() > 255:
        raise bad_request(expected, f"values from {values.min()} to {values.max()}")
    return values.astype(np.uint8).reshape(shape)
