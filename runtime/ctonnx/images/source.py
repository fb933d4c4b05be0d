"""Opens an image source safely: a path or the bytes of a file."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctonnx.errors import ImageError
from ctonnx.images.scan import Scan
from ctonnx.system.file_reading import NotRegular, opened, reason_of

__all__ = ["ImageSource", "NamedBytes", "open_source"]

ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | Scan | NDArray[np.uint8]"


class NamedBytes(bytes):
    """A file's bytes with the name that it has elsewhere, such as in an object store: it is read as that file would be.

    >>> NamedBytes(b"DICM", "s3://archive/1.dcm").name
    's3://archive/1.dcm'
    """

    name: str

    def __new__(cls, content: bytes, name: str) -> "NamedBytes":
        """Returns the bytes, which are copied once."""
        named = super().__new__(cls, content)
        named.name = name
        return named


@contextmanager
def open_source(source: str | os.PathLike[str] | bytes) -> Iterator[tuple[BinaryIO, int, str]]:
    """Opens a regular file, or a file's bytes; yields the file, its size in bytes and its name in errors."""
    if isinstance(source, bytes):
        name, size, file = getattr(source, "name", "bytes in memory"), len(source), io.BytesIO(source)
        _reject_empty(size, name)
        yield file, size, name
        return
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"expected a path, a file's bytes, a Pillow image or a uint8 array, found {type(source).__name__}"
        )
    name = os.fsdecode(source)
    try:
        with opened(name) as found:
            status = os.fstat(found.fileno())
            _reject_empty(status.st_size, name)
            yield found, status.st_size, name
    except IsADirectoryError as error:
        raise ImageError("a folder, not an image file", name) from error
    except NotRegular as error:
        raise ImageError(reason_of(error), name) from error
    except OSError as error:
        raise ImageError(f"cannot be read: {reason_of(error)}", name) from error


def _reject_empty(size: int, name: str) -> None:
    if size == 0:
        raise ImageError("the file is empty (0 bytes)", name)
