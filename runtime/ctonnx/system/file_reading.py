"""Reads files named by a user: only regular files, and only up to a maximum size.

A pipe waits for a writer, a device such as `/dev/zero` has no end, and a damaged or hostile file can have any size.
"""

import errno
import io
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NotRegular", "check_file", "opened", "read_arrays", "read_bytes", "read_text", "reason_of"]

_MOST_TEXT = 256 << 20  # bytes; a benchmark with all samples has about 10 MB
_MOST_ARRAYS = 64 << 30  # bytes, unpacked; the largest MedMNIST file has about 10 GB


class NotRegular(OSError):
    """A pipe, a device or a socket was found where a file was expected."""


def check_file(path: str | os.PathLike[str], *, most: int | None = None) -> None:
    """Raises the errors of `opened` without opening the file, for libraries that open files by name."""
    with _one_error(path):
        _check(Path(path).stat(), path, most)


@contextmanager
def opened(path: str | os.PathLike[str], *, most: int | None = None) -> Iterator[io.BufferedReader]:
    """Opens a regular file of at most `most` bytes to read its bytes; links are followed.

    Raises:
        NotRegular: If it is a pipe, a device or a socket.
        OSError: If it cannot be opened, is larger, or is a folder.
    """
    with _one_error(path):
        _check(Path(path).stat(), path, most)
        # Not blocking: if a pipe has replaced the file since the check, opening it would wait for a writer.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(number, "rb") as file:
        _check(os.fstat(number), path, most)
        yield file


def read_bytes(path: str | os.PathLike[str], *, most: int = _MOST_TEXT) -> bytes:
    """Returns the bytes of a file, with the errors of `opened`."""
    with opened(path, most=most) as file:
        content = file.read(most + 1)  # files in /proc have a size of 0
    if len(content) > most:
        raise _too_large(len(content), most, path)
    return content


def read_text(path: str | os.PathLike[str]) -> str:
    """Returns the text of a UTF-8 file, without the byte order mark that editors on Windows write.

    Raises:
        OSError: See `opened`.
        UnicodeDecodeError: If the file is not UTF-8.
    """
    text = read_bytes(path).decode("utf-8-sig")
    return io.IncrementalNewlineDecoder(None, translate=True).decode(text, final=True)


def read_arrays(path: Path, *, most: int = _MOST_ARRAYS) -> "dict[str, NDArray[Any]]":
    """Returns the arrays of an `.npz` file by name, together at most `most` bytes; nothing in it is unpickled.

    Raises:
        OSError: See `opened`.
        ValueError: If the file is damaged, of another kind, or its arrays are larger.
        MemoryError: If the arrays do not fit into memory.
    """
    import numpy as np

    with opened(path) as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("no .npz file")
        file.seek(0)
        try:
            with zipfile.ZipFile(file) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > most:
                raise ValueError(f"{unpacked} bytes of arrays, and at most {most} are read")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, MemoryError, ValueError):
            raise
        # Damaged files raise BadZipFile, zlib.error, TypeError, TokenError, EOFError, NotImplementedError and more.
        except Exception as error:
            raise ValueError(f"damaged: {type(error).__name__}") from error


def reason_of(error: OSError) -> str:
    """Returns the reason why a file could not be opened, in a few words."""
    return "no such file" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()


@contextmanager
def _one_error(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns the ValueError for a name with a NUL character into an OSError."""
    try:
        yield
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), os.fspath(path)) from error


def _check(status: os.stat_result, path: str | os.PathLike[str], most: int | None) -> None:
    name = os.fspath(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not stat.S_ISREG(status.st_mode):
        raise NotRegular(errno.EINVAL, "not a regular file, so it is not opened", name)
    if most is not None and status.st_size > most:
        raise _too_large(status.st_size, most, path)


def _too_large(size: int, most: int, path: str | os.PathLike[str]) -> OSError:
    return OSError(errno.EFBIG, f"a file of {size} bytes or more, and at most {most} are read", os.fspath(path))
