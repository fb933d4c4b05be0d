"""Temporary names with a lock that shows whether their process still runs, and removal of leftover files.

A temporary file or folder `.NAME.STAMP.part` has a lock file `.NAME.STAMP.lock` next to it. Its process holds a lock on
that file (`flock`; on Windows an open handle), which the kernel releases when the process ends for any reason. Process
ids are not compared, as they are reused. The lock file is a separate file because on SMB a lock on the temporary file
would block its own writer.

Not every network file system shares locks between machines. The stamp begins with a hash of the machine and its boot,
and files from another machine or boot on a network file system are not removed.
"""

import hashlib
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ctonnx.system.procfs import ROOT, file_system
from ctonnx.system.text import Log, quoted

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["remove_leftovers", "temporary_name"]

_STAMPED = re.compile(r"\.(?:(?P<name>.+)\.)?(?P<machine>[0-9a-f]{8})-[0-9a-f]{12}\.lock", re.DOTALL)
_LONGEST = 100  # bytes of a name repeated in a temporary one: file systems allow 255, or 143 if they encrypt
_LOCAL = ("apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "hfs", "overlay", "tmpfs", "xfs", "zfs")


@contextmanager
def temporary_name(path: Path) -> Iterator[Path]:
    """Yields a hidden name in the folder of `path`, locked by this process within the block.

    Nothing is created under the name. A file or folder created there must be renamed or removed before the block ends.

    Raises:
        OSError: If the folder does not exist or is not writable.
    """
    repeated = f"{path.name}." if len(os.fsencode(path.name)) <= _LONGEST else ""
    while True:
        temporary = path.with_name(f".{repeated}{_machine()}-{secrets.token_hex(6)}.part")
        lock = temporary.with_suffix(".lock")
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOINHERIT", 0), 0o666)
        except OSError as error:
            error.filename = str(path)
            raise
        # Another process that removes leftovers may have deleted the lock file before it was locked.
        held = _take(handle) is not False and _is_file_of(lock, handle)
        try:
            if held:
                yield temporary
                return
        finally:
            if held and fcntl is not None:
                lock.unlink(missing_ok=True)
            os.close(handle)
            if held and fcntl is None:
                lock.unlink(missing_ok=True)  # Windows cannot remove an open file


def remove_leftovers(folders: Iterable[Path], log: Log = lambda line: None) -> list[Path]:
    """Removes the temporary files and folders of killed processes, and returns their paths.

    Files of running processes, on this or another machine, stay. A folder that was renamed to be replaced is restored
    if its replacement is missing.

    Args:
        folders: Folders to search, without subfolders; missing ones are skipped.
        log: Called with a line for each folder in which something was removed or restored.
    """
    removed: list[Path] = []
    for folder in dict.fromkeys(folders):
        parts = [part for lock, name in _locks(folder) for part in _remove_of(lock, name, log)]
        if parts:
            named = quoted(part.name for part in parts[:3]) + (", ..." if len(parts) > 3 else "")
            what = "1 temporary file or folder" if len(parts) == 1 else f"{len(parts)} temporary files or folders"
            log(f"removed {what} of a killed process from '{folder}': {named}")
        removed += parts
    return removed


def _remove_of(lock: Path, name: str | None, log: Log) -> list[Path]:
    """Removes a lock file that no process holds, with its temporary file or folder."""
    try:
        with lock.open("rb+") as file:
            if _take(file.fileno()) is not True or not _is_file_of(lock, file.fileno()):
                return []
            if fcntl is not None:
                return _remove_parts(lock, name, log)
        lock.unlink()  # fails on Windows while its process has it open
        return _remove_parts(lock, name, log)
    except OSError:  # removed by its process, or owned by another user
        return []


def _remove_parts(lock: Path, name: str | None, log: Log) -> list[Path]:
    part, old = lock.with_suffix(".part"), lock.with_suffix(".old")
    removed = []
    if old.is_dir() and name is not None:
        target = old.with_name(name)
        if not target.exists():
            old.rename(target)
            log(f"put '{target}' back, which a killed process had moved out of the way")
        else:
            shutil.rmtree(old)
            removed.append(old)
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part)
        removed.append(part)
    elif part.is_symlink() or part.exists():
        part.unlink()
        removed.append(part)
    lock.unlink(missing_ok=True)
    return removed


def _locks(folder: Path) -> list[tuple[Path, str | None]]:
    """Returns the lock files whose processes this machine can check, and the names that they wrote."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".lock"))
    except OSError:
        return []
    found = [match for name in names if (match := _STAMPED.fullmatch(name))]
    if not found:
        return []
    is_local = file_system(folder) in _LOCAL
    return [(folder / match[0], match["name"]) for match in found if is_local or match["machine"] == _machine()]


def _take(handle: int) -> bool | None:
    """Locks an open file; False if another process holds the lock, None if the file system has no locks."""
    if fcntl is None:
        return True  # the open handle is the lock
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_file_of(lock: Path, handle: int) -> bool:
    """Returns whether the lock file is still the opened one: another process may have removed it."""
    try:
        return os.path.samestat(lock.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _machine(root: Path = ROOT) -> str:
    """Returns eight hexadecimal digits for this machine and boot, shared by its containers."""
    try:
        text = (root / "proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        text = platform.node()
    return hashlib.sha256(text.encode()).hexdigest()[:8]
