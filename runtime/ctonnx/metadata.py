"""Reads what an `.onnx` file says about itself, without onnxruntime and without reading its weights.

An ONNX file is one protobuf message (https://protobuf.dev/programming-guides/encoding/): fields with a number and a
length. The graph, which holds the weights, is stepped over; the metadata stand in fields of a few kilobytes.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["read_metadata", "read_spec_facts"]

_METADATA_PROPS = 14  # ModelProto.metadata_props; in it, 1 is the key and 2 the value (onnx.proto)
_SPEC = "ctonnx.spec"  # spec.METADATA_KEY, without the import of NumPy that stands there
_LONGEST = 1 << 26  # bytes of one entry; more is no metadata


def read_metadata(model: Path | bytes) -> dict[str, str]:
    """Returns the model's metadata.

    Args:
        model: path of an `.onnx` file, or its bytes.

    Raises:
        ValueError: it is no ONNX file, or ends too early.
        OSError: the file cannot be read.
    """
    found: dict[str, str] = {}
    with io.BytesIO(model) if isinstance(model, bytes) else model.open("rb") as file:
        for number, content in _fields(file, _METADATA_PROPS):
            if number == _METADATA_PROPS:
                entry = dict(_fields(io.BytesIO(content), 1, 2))
                found[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
    return found


def read_spec_facts(model: Path | bytes) -> dict[str, Any]:
    """Returns the JSON document of the model's spec, unchecked; empty where there is none that can be read.

    It answers what must be known before a session is made: the precision, and what INT8 was quantized for.

    Args:
        model: path of an `.onnx` file, or its bytes.
    """
    try:
        facts = json.loads(read_metadata(model)[_SPEC])
    except (OSError, ValueError, KeyError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _fields(file: BinaryIO, *wanted: int) -> Iterator[tuple[int, bytes]]:
    """Yields the number of each field, and the content of those that are wanted."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    while file.tell() < size:
        tag = _varint(file)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            _varint(file)
            continue
        length = {1: 8, 5: 4}.get(kind) or (_varint(file) if kind == 2 else -1)
        if not 0 <= length <= size - file.tell():
            raise ValueError("expected an ONNX file, found other bytes or an end before the end")
        if number in wanted and length <= _LONGEST:
            yield number, file.read(length)
        else:
            file.seek(length, io.SEEK_CUR)


def _varint(file: BinaryIO) -> int:
    value = shift = 0
    while True:
        byte = file.read(1)
        if not byte or shift > 63:
            raise ValueError("expected an ONNX file, found other bytes or an end before the end")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7
