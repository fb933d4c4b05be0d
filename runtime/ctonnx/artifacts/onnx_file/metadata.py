"""Reads the metadata of an `.onnx` file, without onnxruntime and without reading its weights.

An ONNX file is one protobuf message. The graph with the weights is skipped; the metadata have a few kilobytes.
"""

from pathlib import Path
from typing import Any

from ctonnx.artifacts.json_schema import parse
from ctonnx.artifacts.onnx_file.protobuf import message

__all__ = ["METADATA_KEY", "METADATA_PROPS", "read_metadata", "read_spec_facts"]

METADATA_KEY = "ctonnx.spec"
"""Key of the spec in the metadata of a model."""

METADATA_PROPS = 14
"""Field number of `ModelProto.metadata_props`, whose fields are 1, the key, and 2, the value (onnx.proto)."""

_LONGEST = 1 << 26  # bytes of one entry; longer ones are ignored


def read_metadata(model: Path | bytes) -> dict[str, str]:
    """Returns the model's metadata.

    Raises:
        ValueError: If it is not an ONNX file, or ends too early.
        OSError: The file cannot be read.
    """
    found: dict[str, str] = {}
    with message(model) as whole:
        for field in whole.only(METADATA_PROPS):
            if field.size <= _LONGEST:
                entry = whole.inner(field)
                texts = {part.number: entry.text(part) for part in entry if part.number in (1, 2)}
                found[texts.get(1, "")] = texts.get(2, "")
    return found


def read_spec_facts(model: Path | bytes) -> dict[str, Any]:
    """Returns the JSON document of the model's spec, not validated; empty if it cannot be read.

    It has the facts that are needed before a session is created: precision, target of the quantization and checksum.
    """
    try:
        facts = parse(read_metadata(model)[METADATA_KEY])
    except (OSError, ValueError, KeyError):
        return {}
    return facts if isinstance(facts, dict) else {}
