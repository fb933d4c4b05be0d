"""The OpenAPI document of the server."""

from typing import Any

from ctonnx.server.settings import Settings
from ctonnx.spec import ModelSpec

__all__ = ["document"]


def document(name: str, spec: ModelSpec, settings: Settings, *, version: str) -> dict[str, Any]:
    """Returns the document."""
    return {"openapi": "3.1.0", "info": {"title": "ctonnx", "version": version}, "paths": {}}
