"""Requests of Triton's clients in addition to the Open Inference Protocol: model list and model configuration.

Sources: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_configuration.md
"""

import json
from typing import Any

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity.outputs import NOVELTY
from ctonnx.server.api.open_inference import VERSION, flag, model_metadata
from ctonnx.server.transport.errors import bad_request, short

__all__ = ["NOT_IMPLEMENTED", "model_config", "repository_index"]

NOT_IMPLEMENTED = (
    "this server has one model, see POST /v2/repository/index; Triton's statistics, loading, tracing, logging and "
    "shared memory are not implemented. /openapi.json lists all addresses"
)
"""Message for Triton's other addresses."""


def repository_index(name: str, body: bytes | bytearray) -> list[dict[str, str]]:
    """Returns the response of `POST /v2/repository/index`: the model, which is ready as long as the server is.

    Raises:
        RequestError: If the body is neither empty nor a JSON object with `ready`, to list only models that are ready.
    """
    expected = 'no body, or a JSON object such as {"ready": true}'
    if body.strip():
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise bad_request(expected, "invalid JSON") from error
        if document is not None and not isinstance(document, dict):
            raise bad_request(expected, short(document))
        flag(document or {}, "ready")
    return [{"name": name, "version": VERSION, "state": "READY", "reason": ""}]


def model_config(name: str, spec: ModelSpec, *, max_images: int) -> dict[str, Any]:
    """Returns the response of `/v2/models/NAME/config`."""
    metadata = model_metadata(name, spec)

    def tensors(kind: str) -> list[dict[str, Any]]:
        return [
            {"name": tensor["name"], "data_type": f"TYPE_{tensor['datatype']}", "dims": tensor["shape"][1:]}
            | ({"reshape": {"shape": []}} if tensor["name"] == NOVELTY else {})  # the model's own shape, as exported
            for tensor in metadata[kind]
        ]

    return {
        "name": name,
        "platform": metadata["platform"],
        "backend": "onnxruntime",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": max_images,
        "input": tensors("inputs"),
        "output": tensors("outputs"),
    }
