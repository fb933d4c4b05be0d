"""Finds model files that were damaged since their export, as by a bit error on a disk or an incomplete copy.

The spec contains a checksum of the file without its metadata (which include the spec). It is compared whenever a model
is opened. A checksum finds damage and does not authenticate a file: `ctonnx verify` compares the SHA-256 of the
whole file.
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

from ctonnx.artifacts.onnx_file.metadata import METADATA_PROPS, read_spec_facts
from ctonnx.artifacts.onnx_file.protobuf import message
from ctonnx.errors import ModelError
from ctonnx.system.file_reading import opened

__all__ = ["check_content", "content_checksum"]

_CHUNK = 1 << 18  # bytes at a time, whole words: fits into a core's cache
_WORD = 8  # bytes
_MASK = (1 << 64) - 1
_PLACES = np.arange(1, _CHUNK // _WORD + 1, dtype=np.uint64)


def content_checksum(model: Path | bytes) -> str:
    """Returns a checksum of a model file without its metadata: 32 hexadecimal digits.

    The bytes are the fields of `ModelProto` in the order of the file, each with its number and length, except for field
    14, `metadata_props`, padded with zeros to words of 8 bytes, little-endian. The first 16 digits are the sum of the
    words plus the number of bytes, the last 16 the sum of the words multiplied by their places, counted from 1, both
    modulo 2^64: a Fletcher checksum of 64-bit words (https://doi.org/10.1109/TCOM.1982.1095369), which finds every
    single-bit error.

    Raises:
        ValueError: If it is not an ONNX file, or ends too early.
        OSError: The file cannot be read.
    """
    total = weighted = count = 0
    for chunk in _words_of(_content(model)):
        words = np.frombuffer(chunk + bytes(-len(chunk) % _WORD), "<u8")
        plain = int(words.sum(dtype=np.uint64))
        weighted += int((words * _PLACES[: len(words)]).sum(dtype=np.uint64)) + count // _WORD * plain
        total += plain
        count += len(chunk)
    return f"{(total + count) & _MASK:016x}{weighted & _MASK:016x}"


def _words_of(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the same bytes in chunks of whole words; only the last one may end within a word."""
    left = b""
    for part in parts:
        joined = left + part
        whole = min(len(joined), _CHUNK) // _WORD * _WORD
        yield joined[:whole]
        left = joined[whole:]
    yield left


def _content(model: Path | bytes) -> Iterator[bytes]:
    """Yields the bytes of a model file without its metadata, in chunks of at most `_CHUNK`."""
    with message(model) as whole:
        left_out = [(field.begin, field.stop) for field in whole.only(METADATA_PROPS)]
        end = whole.stop
    with BytesIO(model) if isinstance(model, bytes) else opened(model) as file:
        for begin, stop in [*left_out, (end, end)]:
            while chunk := file.read(min(_CHUNK, begin - file.tell())):
                yield chunk
            file.seek(stop)


def check_content(model: Path | bytes, *, name: str | None = None) -> None:
    """Raises an error if a model's checksum differs from the one in its spec, which earlier releases do not have.

    `name` is that of the model in the message; None takes its path.

    Raises:
        ModelError: If they differ.
        ValueError: If it is not an ONNX file.
        OSError: The file cannot be read.
    """
    kept = read_spec_facts(model).get("content_checksum")
    if not isinstance(kept, str):  # `ModelSpec.from_json` reports any other value
        return
    if (found := content_checksum(model)) != kept:
        name = name or (f"'{model}'" if isinstance(model, Path) else "the model")
        raise ModelError(
            f"expected {name} as it was exported (checksum {kept[:40]}), found it damaged or altered (checksum "
            f"{found}): its predictions may be wrong; copy it again, or export it again"
        )
