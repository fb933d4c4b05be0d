"""What Triton's clients ask beside the Open Inference Protocol: which models there are, and a model's configuration.

Sources: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_configuration.md
"""

import json
from typing import Any

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.server.api.open_inference import VERSION, model_metadata
from ctonnx.server.transport.errors import RequestError, shown

__all__ = ["NOT_DONE", "model_config", "repository_index"]

NOT_DONE = (
    "this server has one model, which POST /v2/repository/index names; Triton's statistics, loading, tracing, logging "
    "and shared memory are not done. /openapi.json tells what there is"
)
"""What is answered at addresses of Triton's that do not exist here."""


def repository_index(name: str, body: bytes | bytearray) -> list[dict[str, str]]:
    """Returns the answer of `POST /v2/repository/index`: the model, which is ready as long as requests are answered.

    Args:
        name: of the model.
        body: of the request: empty, or a JSON object with `ready`, which asks for models that are ready alone.

    Raises:
        Refusal: The body is something else.
    """
    expected = 'expected no body, or a JSON object as {"ready": true}'
    if body.strip():
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RequestError(400, f"{expected}, found no JSON") from error
        if document is not None and not isinstance(document, dict):
            raise RequestError(400, f"{expected}, found {shown(document)}")
        ready = (document or {}).get("ready")
        if ready is not None and not isinstance(ready, bool):
            raise RequestError(400, f"expected ready to be true or false, found {shown(ready)}")
    return [{"name": name, "version": VERSION, "state": "READY", "reason": ""}]


def model_config(name: str, spec: ModelSpec, *, most: int) -> dict[str, Any]:
    """Returns the answer of `/v2/models/NAME/config`.

    Args:
        name: of the model.
        spec: of the model.
        most: Images in a request.
    """
    metadata = model_metadata(name, spec)

    def tensors(kind: str) -> list[dict[str, Any]]:
        return [
            {"name": tensor["name"], "data_type": f"TYPE_{tensor['datatype']}", "dims": tensor["shape"][1:]}
            for tensor in metadata[kind]
        ]

    return {
        "name": name,
        "platform": metadata["platform"],
        "backend": "onnxruntime",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": most,
        "input": tensors("inputs"),
        "output": tensors("outputs"),
    }
