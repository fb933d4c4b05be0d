"""Files and folders that are written completely or not at all: under a temporary name, synced, renamed."""

import errno
import hashlib
import json
import math
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ctonnx.system.file_reading import opened
from ctonnx.system.temporary_files import temporary_name

__all__ = ["atomic_file", "atomic_folder", "json_text", "made_folders", "sha256_of", "sync_folder", "write_text"]


@contextmanager
def atomic_file(path: Path, *, mode: int = 0o666) -> Iterator[Path]:
    """Yields a temporary path next to `path`, and renames it to `path` when the block ends without an error.

    `mode` has the permissions of the file from its first moment on, without those that the umask removes.

    An error or Ctrl-C inside the block removes the temporary file and keeps the previous file. If `path` is a link, its
    target is replaced.

    Raises:
        OSError: If the folder does not exist or is not writable, or `path` is a folder, a device, a pipe or a socket.
            The error names `path`.
    """
    target = _file_behind(path)
    with temporary_name(target) as temporary, _naming(path, temporary):
        temporary.touch(mode, exist_ok=False)
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder next to `path`, which replaces `path` when the block ends without an error.

    An error or Ctrl-C inside the block removes the temporary folder and keeps the previous folder.

    Raises:
        OSError: If the parent folder cannot be made or written to, or `path` is a file, a link or the working folder.
            Errors of files inside the block name `path`.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise FileExistsError(errno.EEXIST, "expected a folder or nothing, found a file or a link", str(path))
    if path.resolve() == Path.cwd():
        reason = "expected another folder than the working folder, which would be replaced"
        raise OSError(errno.EBUSY, reason, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_name(path) as temporary, _naming(path, temporary):
        old = temporary.with_suffix(".old")
        temporary.mkdir()
        try:
            yield temporary
            for file in sorted(temporary.rglob("*")):
                if file.is_file():
                    _sync(file)
            if not (path.exists() and _exchange(temporary, path)):
                if path.exists():
                    path.rename(old)
                temporary.rename(path)
        except BaseException:
            if old.exists() and not path.exists():
                old.rename(path)
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def made_folders(folder: Path) -> Iterator[None]:
    """Makes a folder with its parents; if the block ends with an error, those made here and still empty are removed."""
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with suppress(OSError):  # folders with content stay, with those above them
            for path in missing:
                path.rmdir()
        raise


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, completely or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_of(source: Path | bytes) -> str:
    """Returns the SHA-256 of a regular file, which is read in chunks, or of bytes: 64 hexadecimal digits."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with opened(source) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _naming(path: Path, temporary: Path) -> Iterator[None]:
    """Makes an OSError name `path` if it names a temporary path, or none as errors of write() do."""
    try:
        yield
    except OSError as error:
        named = error.filename
        if isinstance(named, str | bytes):
            is_temporary = Path(os.fsdecode(named)).absolute().is_relative_to(temporary.absolute())
        else:
            is_temporary = named is None and error.errno is not None
        if is_temporary:
            error.filename = str(path)
        raise


def json_text(document: Any) -> str:
    """Returns a document as JSON text. Numbers that are not finite become null, as JSON does not have them.

    >>> print(json_text({"b": [float("nan")], "a": 1.5}), end="")
    {
      "a": 1.5,
      "b": [
        null
      ]
    }
    """
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, sort_keys=True, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Writes the names in a folder to the disk, so that a renamed file is there after a power failure.

    Raises:
        OSError: If the disk fails.
    """
    if os.name == "nt":  # a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _file_behind(path: Path) -> Path:
    """Returns the target of a link, or `path` itself, after checking that a file can replace it."""
    try:
        mode = path.stat().st_mode  # before links are resolved: the target of /dev/stdout may have no name
    except FileNotFoundError:
        mode = stat.S_IFREG
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        reason = "expected a file or nothing to write to, found a device, a pipe or a socket"
        raise FileExistsError(errno.EEXIST, reason, str(path))
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two paths atomically, so that both are complete folders at any time; False if that is not supported.

    Source: https://man7.org/linux/man-pages/man2/rename.2.html (`renameat2`, `RENAME_EXCHANGE`).
    """
    import ctypes

    here, exchange = -100, 2  # AT_FDCWD and the flag
    try:
        rename = ctypes.CDLL(None).renameat2
    except (OSError, TypeError, AttributeError):  # Windows, macOS, an old C library
        return False
    return bool(rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)
