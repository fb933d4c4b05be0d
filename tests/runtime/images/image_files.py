"""Image files for the tests."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctonnx.errors import ImageError
from ctonnx.images import load
from ctonnx.images.scan import Scan

GREY = Image.new("L", (40, 30), 100)


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """Returns the bytes of an image file."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def noise(file_format: str) -> bytes:
    """Returns an image file that is long enough to be truncated in the middle of its pixels."""
    values = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    return encoded(Image.fromarray(values), file_format)


def row(image: Scan) -> list[Any]:
    """Returns the first row of an image: numbers for grey, lists of three for colour."""
    values: list[Any] = np.asarray(image)[0].tolist()
    return values


def compressed_zeros(size: int) -> bytes:
    """Returns a zlib stream of so many zeros, a multiple of a million: one block, compressed once, repeated."""
    block = bytes(1_000_000)
    compressor = zlib.compressobj(9)
    first, second = (compressor.compress(block) + compressor.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    checksum = 1
    for _ in range(size // len(block)):
        checksum = zlib.adler32(block, checksum)
    end = zlib.compressobj(wbits=-zlib.MAX_WBITS).flush()
    return first + second * (size // len(block) - 1) + end + struct.pack(">I", checksum)


def chunk(kind: bytes, data: bytes, checksum: int = 0) -> bytes:
    """Returns a chunk of a PNG file; `checksum` changes the right one."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ checksum)


def error_of(source: Any) -> str:
    """Returns the text of the error for a source that is rejected."""
    with pytest.raises(ImageError) as caught:
        load(source)
    return str(caught.value)


def reason_of(data: bytes) -> str:
    """Returns the reason of the error for a file that is rejected."""
    return error_of(data).removeprefix("bytes in memory: ")
