"""Tells a model file that was damaged since it was exported: by a bit that flipped on a disk, or a copy that failed.

The spec keeps a checksum of the file without its metadata, in which the spec itself stands. It is compared whenever a
model is opened. A checksum finds damage, and proves nothing of who made a file: that is
what `ctonnx verify` compares the SHA-256 of the whole file for.
"""

import zlib
from pathlib import Path

from ctonnx.errors import ModelError
from ctonnx.metadata import METADATA_PROPS, read_spec_facts
from ctonnx.protobuf import message
from ctonnx.reading import opened

__all__ = ["check_content", "content_crc32"]

_CHUNK = 1 << 20  # bytes that are in memory at a time


def content_crc32(model: Path | bytes) -> int:
    """Returns the CRC-32 (as in zlib and PNG) of a model file's bytes without those of its metadata.

    These are the fields of `ModelProto` in the order of the file, each with its number and length, but for those of
    number 14, `metadata_props`.

    Args:
        model: path of an `.onnx` file, or its bytes.

    Raises:
        ValueError: it is no ONNX file, or ends too early.
        OSError: the file cannot be read.
    """
    with message(model) as whole:
        left_out = [(field.begin, field.stop) for field in whole.only(METADATA_PROPS)]
        end = whole.stop
    if isinstance(model, bytes):
        checksum, start = 0, 0
        for begin, stop in [*left_out, (end, end)]:
            checksum, start = zlib.crc32(memoryview(model)[start:begin], checksum), stop
        return checksum
    with opened(model) as file:
        checksum = 0
        for begin, stop in [*left_out, (end, end)]:
            while chunk := file.read(min(_CHUNK, begin - file.tell())):
                checksum = zlib.crc32(chunk, checksum)
            file.seek(stop)
        return checksum


def check_content(model: Path) -> None:
    """Raises an error where a model's checksum is not that in its spec.

    A file from before checksums were kept is taken as it is.

    Raises:
        ModelError: they differ.
        ValueError: it is no ONNX file.
        OSError: the file cannot be read.
    """
    kept = read_spec_facts(model).get("content_crc32")
    if type(kept) is not int:  # the spec's reader says what is wrong with anything else
        return
    if (found := content_crc32(model)) != kept:
        raise ModelError(
            f"expected '{model}' as it was exported (checksum {kept:08x}), found it damaged or altered (checksum "
            f"{found:08x}): its answers may be wrong; copy it again, or export it again"
        )
