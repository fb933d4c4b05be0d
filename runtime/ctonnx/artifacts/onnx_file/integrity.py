"""Tells a model file that was damaged since it was exported: by a bit that flipped on a disk, or a copy that failed.

The spec keeps a checksum of the file without its metadata, in which the spec itself stands. It is compared whenever a
model is opened. A checksum finds damage, and proves nothing of who made a file: that is
what `ctonnx verify` compares the SHA-256 of the whole file for.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ctonnx.artifacts.onnx_file.metadata import METADATA_PROPS, read_spec_facts
from ctonnx.artifacts.onnx_file.protobuf import message
from ctonnx.errors import ModelError
from ctonnx.system.file_reading import opened

__all__ = ["check_content", "content_checksum"]

_CHUNK = 1 << 18  # bytes at a time, whole words: few enough for a core's cache
_WORD = 8  # bytes
_MASK = (1 << 64) - 1
_PLACES = np.arange(1, _CHUNK // _WORD + 1, dtype=np.uint64)


def content_checksum(model: Path | bytes) -> str:
    """Returns a checksum of a model file's bytes without those of its metadata: 32 hexadecimal digits.

    The bytes are the fields of `ModelProto` in the order of the file, each with its number and length, but for those of
    number 14, `metadata_props`, filled with zeros to whole words of 8 bytes, little-endian. The first 16 digits are the
    sum of the words and of the number of bytes, the last 16 the sum of the words each times its place, counted from 1,
    both modulo 2^64: a Fletcher checksum of words as long as the processor's
    (https://doi.org/10.1109/TCOM.1982.1095369), which finds every flipped bit.

    Args:
        model: Path of an `.onnx` file, or its bytes.

    Raises:
        ValueError: It is no ONNX file, or ends too early.
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
    """Yields the same bytes in chunks of whole words, but for the last one."""
    left = b""
    for part in parts:
        joined = left + part
        whole = min(len(joined), _CHUNK) // _WORD * _WORD
        yield joined[:whole]
        left = joined[whole:]
    yield left


def _content(model: Path | bytes) -> Iterator[bytes]:
    """Yields the bytes of a model file without its metadata, in parts of at most `_CHUNK`."""
    with message(model) as whole:
        left_out = [(field.begin, field.stop) for field in whole.only(METADATA_PROPS)]
        end = whole.stop
    start = 0
    if isinstance(model, bytes):
        for begin, stop in [*left_out, (end, end)]:
            for place in range(start, begin, _CHUNK):
                yield model[place : min(place + _CHUNK, begin)]
            start = stop
        return
    with opened(model) as file:
        for begin, stop in [*left_out, (end, end)]:
            while chunk := file.read(min(_CHUNK, begin - file.tell())):
                yield chunk
            file.seek(stop)


def check_content(model: Path) -> None:
    """Raises an error where a model's checksum is not that in its spec.

    A file from before checksums were kept is taken as it is.

    Raises:
        ModelError: they differ.
        ValueError: it is no ONNX file.
        OSError: The file cannot be read.
    """
    kept = read_spec_facts(model).get("content_checksum")
    if not isinstance(kept, str):  # the spec's reader says what is wrong with anything else
        return
    if (found := content_checksum(model)) != kept:
        raise ModelError(
            f"expected '{model}' as it was exported (checksum {kept[:40]}), found it damaged or altered (checksum "
            f"{found}): its answers may be wrong; copy it again, or export it again"
        )
