"""The Open Inference Protocol v2 as data: metadata, requests and answers, JSON tensors and the binary extension.

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
from ctonnx.parity.outputs import OUTPUT_NAMES, Outputs
from ctonnx.server.transport.errors import RequestError, shown

__all__ = ["VERSION", "InferRequest", "model_metadata", "read_request", "server_metadata", "write_answer"]

VERSION = "1"
"""The only version of the model."""


@dataclass(frozen=True, eq=False)
class InferRequest:
    """A request for inference.

    Attributes:
        pixels: uint8 [images, size, size, 3].
        outputs: Names of those that are asked for, in order, each with whether it is wanted as bytes in place of JSON.
        id: that the client gave it; empty where it gave none.
        seconds: that it may take at most, where the client says so.
    """

    pixels: NDArray[np.uint8]
    outputs: Sequence[tuple[str, bool]]
    id: str = ""
    seconds: float | None = None


def server_metadata(version: str) -> dict[str, Any]:
    """Returns the answer of `/v2`."""
    return {"name": "ctonnx", "version": version, "extensions": ["binary_tensor_data", "model_configuration"]}


def model_metadata(name: str, spec: ModelSpec) -> dict[str, Any]:
    """Returns the answer of `/v2/models/NAME`."""
    size, classes, cells = spec.preprocessing.size, len(spec.classes), math.ceil(spec.preprocessing.size / 32)
    shapes = dict(zip(OUTPUT_NAMES, ([-1, classes], [-1, classes], [-1, classes, cells, cells]), strict=True))
    return {
        "name": name,
        "versions": [VERSION],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [-1, size, size, 3]}],
        "outputs": [{"name": output, "datatype": "FP32", "shape": shape} for output, shape in shapes.items()],
    }


def read_request(body: bytes | bytearray, header_length: str | None, *, size: int, most: int) -> InferRequest:
    """Reads a request for inference.

    Args:
        body: of the request: JSON, and after it the binary tensors' bytes.
        header_length: The header `Inference-Header-Content-Length`, which says how many bytes are JSON.
        size: Height and width of the model's input.
        most: Images in a request.

    Raises:
        Refusal: it is no request that this model can answer.
    """
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit()) or not 0 < int(header_length[:12]) <= length:
            raise RequestError(
                400,
                f"expected an Inference-Header-Content-Length from 1 to the body's {length} bytes, found "
                f"{shown(header_length)}",
            )
        length = int(header_length[:12])
    document = _json(body[:length])
    parameters = _object(document, "parameters")
    identity = "" if document.get("id") is None else document["id"]
    if not isinstance(identity, str):
        raise RequestError(400, f"expected an id that is a text, found {shown(identity)}")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        found = f"{len(inputs)} of them" if isinstance(inputs, list) and len(inputs) != 1 else shown(inputs)
        raise RequestError(400, f"expected one input, 'pixels', in a list of inputs, found {found}")
    pixels = _pixels(inputs[0], memoryview(body)[length:], size=size, most=most)
    return InferRequest(pixels, _outputs(document, parameters), identity, _seconds(parameters))


def write_answer(name: str, request: InferRequest, outputs: Outputs) -> tuple[bytes, int | None]:
    """Returns an answer's body, and how many of its bytes are JSON where binary tensors follow them.

    Args:
        name: of the model.
        request: that is answered.
        outputs: of its images.

    Raises:
        ValueError: An output that goes into JSON is not a number.
    """
    tensors, binary = [], []
    for output, as_bytes in request.outputs:
        values: NDArray[np.float32] = getattr(outputs, output)
        tensor: dict[str, Any] = {"name": output, "datatype": "FP32", "shape": list(values.shape)}
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
        raise RequestError(400, f"expected a JSON object, found no JSON ({error})") from error
    except UnicodeDecodeError as error:
        raise RequestError(
            400, "expected a JSON object, found bytes that are no text; see the header of binary data"
        ) from error
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "expected a JSON object, found one too deep, or with too long a number") from error
    if not isinstance(document, dict):
        raise RequestError(400, f"expected a JSON object, found {shown(document)}")
    return document


def _object(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key)
    if found is None:  # as generated clients send what may be left out
        return {}
    if not isinstance(found, dict):
        raise RequestError(400, f"expected {key} that are a JSON object, found {shown(found)}")
    return found


def _outputs(document: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[tuple[str, bool]]:
    usual = _flag(parameters, "binary_data_output")
    wanted = document.get("outputs") or [{"name": name} for name in OUTPUT_NAMES]
    if not isinstance(wanted, list) or not all(isinstance(item, dict) for item in wanted):
        raise RequestError(400, f"expected outputs that are a list of JSON objects, found {shown(wanted)}")
    found: dict[str, bool] = {}
    for item in wanted:
        name, asked = item.get("name"), _object(item, "parameters")
        if name not in OUTPUT_NAMES or name in found:
            raise RequestError(
                400,
                f"expected outputs of {', '.join(OUTPUT_NAMES)}, each once, found {shown(name)}"
                f"{' twice' if name in OUTPUT_NAMES else ''}",
            )
        if asked.get("classification"):
            raise RequestError(400, "expected outputs without classification, which this server does not do")
        found[name] = usual if asked.get("binary_data") is None else _flag(asked, "binary_data")
    return list(found.items())


def _flag(parameters: Mapping[str, Any], name: str) -> bool:
    value = parameters.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise RequestError(400, f"expected {name} to be true or false, found {shown(value)}")
    return value


def _seconds(parameters: Mapping[str, Any]) -> float | None:
    """Returns what a client's `timeout` says, which Triton's clients give in microseconds."""
    value = parameters.get("timeout")
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < 2**63:
        raise RequestError(400, f"expected a timeout in whole microseconds, found {shown(value)}")
    return value / 1e6 or None


def _pixels(tensor: Mapping[str, Any], binary: memoryview, *, size: int, most: int) -> NDArray[np.uint8]:
    shape = tensor.get("shape")
    if tensor.get("name") != "pixels" or tensor.get("datatype") != "UINT8":
        found = f"{shown(tensor.get('name'))} of {shown(tensor.get('datatype'))}"
        raise RequestError(400, f"expected an input 'pixels' of datatype UINT8, found {found}")
    if not isinstance(shape, list) or not all(type(side) is int for side in shape) or shape[1:] != [size, size, 3]:
        raise RequestError(400, f"expected a shape of [images, {size}, {size}, 3], found {shown(shape)}")
    if not 1 <= shape[0] <= most:
        end = "; send them in several requests" if shape[0] > most else ""
        raise RequestError(400, f"expected 1 to {most} images, found {shape[0]}{end}")
    count = math.prod(shape)
    stated = _object(tensor, "parameters").get("binary_data_size")
    if (stated is None) != (tensor.get("data") is not None):
        raise RequestError(
            400, f"expected either data or a binary_data_size, found {'neither' if stated is None else 'both'}"
        )
    if stated is not None:
        if type(stated) is not int or stated != count or len(binary) != count:
            found = f"{len(binary)}, and a binary_data_size of {shown(stated)}"
            raise RequestError(400, f"expected {count} bytes of binary data, found {found}")
        return np.frombuffer(binary, np.uint8).reshape(shape)
    if len(binary):
        raise RequestError(
            400, f"expected no bytes after the JSON, as the input has its data there, found {len(binary)}"
        )
    expected = f"expected {count} whole numbers from 0 to 255 as data, flat or nested as the shape"
    try:
        values = np.asarray(tensor["data"])
    except (ValueError, OverflowError) as error:
        raise RequestError(400, f"{expected}, found lists of different lengths, or a number too large") from error
    if values.dtype.kind not in "iu" or values.shape not in ((count,), tuple(shape)):
        kind = "" if values.dtype.kind in "iu" else ", not all whole numbers"
        raise RequestError(400, f"{expected}, found a shape of {shown(list(values.shape))}{kind}")
    if values.min() < 0 or values.max() > 255:
        raise RequestError(400, f"{expected}, found some from {values.min()} to {values.max()}")
    return values.astype(np.uint8).reshape(shape)
