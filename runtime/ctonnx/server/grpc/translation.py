"""A `ModelInfer` call as the body of the same request over HTTP, and its response as a message.

The body is JSON followed by the pixels (Triton's binary extension), so that `ctonnx.server.api.open_inference` checks
both protocols' requests.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ctonnx.server.grpc.messages import message
from ctonnx.server.transport.errors import bad_request, short

__all__ = ["read_response", "write_body"]

_BINARY = "binary_data_size"


def write_body(request: Any) -> tuple[bytes, int]:
    """Returns the body for a `ModelInferRequest`, and the number of its bytes that are JSON.

    Raises:
        RequestError: If the request has no data, or data in fields that are not those of its type.
    """
    data = _data(request)
    document = {
        "id": request.id,
        "parameters": _plain(request.parameters),
        "inputs": [
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
                "parameters": _plain(tensor.parameters) | {_BINARY: len(content)},
            }
            for tensor, content in zip(request.inputs, data, strict=True)
        ],
        "outputs": [
            {"name": tensor.name, "parameters": _plain(tensor.parameters) | {"binary_data": True}}
            for tensor in request.outputs
        ],
    }
    document["parameters"]["binary_data_output"] = True
    head = json.dumps(document).encode()
    return b"".join([head, *data]), len(head)


def read_response(body: bytes, head: int, *, typed: bool) -> Any:
    """Returns the `ModelInferResponse` of a response's body, whose first `head` bytes are JSON.

    Args:
        body: JSON, then the outputs as little-endian float32.
        head: Number of bytes of JSON.
        typed: Whether the outputs are in `fp32_contents`, as in requests with `uint_contents`, and not in
            `raw_output_contents`.
    """
    document = json.loads(body[:head])
    response = message("ModelInferResponse")(
        model_name=document["model_name"], model_version=document["model_version"], id=document.get("id", "")
    )
    start = head
    for tensor in document["outputs"]:
        output = response.outputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        end = start + tensor["parameters"][_BINARY]
        if typed:
            output.contents.fp32_contents.extend(np.frombuffer(body[start:end], "<f4"))
        else:
            response.raw_output_contents.append(body[start:end])
        start = end
    return response


def _data(request: Any) -> list[bytes]:
    """Returns the bytes of each input."""
    raw = list(request.raw_input_contents)
    has_contents = any(tensor.HasField("contents") for tensor in request.inputs)
    if raw and has_contents:
        raise bad_request("either contents or raw_input_contents", "both")
    if raw and len(raw) != len(request.inputs):
        raise bad_request("one raw_input_contents for each input", f"{len(raw)} for {len(request.inputs)}")
    return raw or [_typed(tensor) for tensor in request.inputs]


def _typed(tensor: Any) -> bytes:
    found = [field.name for field, _ in tensor.contents.ListFields()]
    if found != ["uint_contents"]:
        expected = "the input's data in uint_contents or in raw_input_contents"
        raise bad_request(expected, ", ".join(found) or "neither")
    values = np.fromiter(tensor.contents.uint_contents, np.uint32, len(tensor.contents.uint_contents))
    if values.max() > 255:
        raise bad_request("uint_contents from 0 to 255", f"values up to {values.max()}")
    return values.astype(np.uint8).tobytes()


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns parameters as JSON has them."""
    found = {}
    for name, value in parameters.items():
        choice = value.WhichOneof("parameter_choice")
        plain = getattr(value, choice) if choice else None
        if isinstance(plain, float) and not math.isfinite(plain):
            raise bad_request("parameters that are numbers", f"{short(name)} of {plain}")
        found[name] = plain
    return found
