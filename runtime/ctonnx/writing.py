"""Files and folders that appear whole or not at all: written under a temporary name, synced, renamed."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole_file", "whole_folder", "write_text"]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, and renames it to `path` when the block ends without an error.

    An error or Ctrl-C inside the block removes the temporary file and leaves what stood at `path` as it was.

    Raises:
        OSError: the folder does not exist or cannot be written to.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `path`, which takes the place of `path` when the block ends without an error.

    An error or Ctrl-C inside the block removes the temporary folder and leaves what stood at `path` as it was.

    Raises:
        OSError: the parent folder cannot be made or written to, or `path` is a file or a link.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise FileExistsError(errno.EEXIST, "expected a folder or nothing, found a file or a link", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    old = temporary.with_suffix(".old")
    try:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                _sync(file)
        temporary.chmod(0o777 & ~_umask())
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


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    """Returns the process's umask, which mkstemp's private 0600 ignores."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
