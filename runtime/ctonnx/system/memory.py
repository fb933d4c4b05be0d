"""Memory: the limit of this process, reservations for images that are decoded, and errors if memory is exhausted."""

import ctypes
import platform
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ctonnx.errors import ImageError, NotEnoughMemory
from ctonnx.system.procfs import ROOT, control_groups, first_line

__all__ = ["as_memory_error", "enough_memory", "largest", "memory_limit", "reserve_memory", "return_freed_memory"]

_SHARE = 4  # images may use one part of the memory; the others are for the model, batches and the system
_MMAP_THRESHOLD = -3  # of mallopt(3)
_ARENA_MAX = -8  # M_ARENA_MAX in malloc.h
_LARGE = 4 << 20  # bytes; scans of 512 x 512 are smaller, and would take 3 % longer if their memory was returned
_UNKNOWN = 4 << 30  # bytes, if the limit is unknown

# Messages of C++ (onnxruntime), Python and the system; a thread needs memory, too.
_NO_MEMORY = re.compile(
    r"std::bad_alloc|bad allocation|failed to allocate memory|cannot allocate memory"
    r"|can't start new thread|pthread_create",
    re.IGNORECASE,
)

_taken: list[int] = []
_changed = threading.Condition()


@cache
def largest() -> int:
    """Returns the number of bytes for all images that are decoded at a time: a quarter of this process's memory."""
    return (memory_limit() or _UNKNOWN) // _SHARE


@contextmanager
def reserve_memory(size: tuple[int, int], bytes_per_pixel: int, name: str) -> Iterator[None]:
    """Reserves memory for decoding an image; waits until other threads have released enough.

    Args:
        size: Width and height in pixels.
        bytes_per_pixel: Maximum number of bytes that decoding needs for each pixel.
        name: Name of the image for errors.

    Raises:
        ImageError: If the image needs more than `largest`, or the memory is exhausted while it is decoded.
    """
    needed = size[0] * size[1] * bytes_per_pixel
    if needed > largest():
        raise ImageError(
            f"too large for the memory of this machine: {size[0]} x {size[1]} pixels take {_megabytes(needed)} "
            f"to read, and an image may take {_megabytes(largest())}; make it smaller",
            name,
        )
    with _changed:
        _changed.wait_for(lambda: sum(_taken) + needed <= largest())
        _taken.append(needed)
    try:
        yield
    except MemoryError as error:
        raise ImageError(
            f"too large for the memory that is free: {size[0]} x {size[1]} pixels need {_megabytes(needed)} to "
            f"decode, of {_megabytes(largest())} for all images; make it smaller, or use fewer threads",
            name,
        ) from error
    finally:
        with _changed:
            _taken.remove(needed)
            _changed.notify_all()


@contextmanager
def enough_memory(action: str) -> Iterator[None]:
    """Converts the errors of `as_memory_error` to `NotEnoughMemory`."""
    try:
        yield
    except Exception as error:  # onnxruntime's exceptions share no base class but this
        if memory_error := as_memory_error(error, action):
            raise memory_error from error
        raise


def as_memory_error(error: Exception, action: str) -> NotEnoughMemory | None:
    """Returns `NotEnoughMemory` if an error of Python, a library or the system reports too little memory, else None.

    The message names the action that needed the memory, such as "load 'model.onnx'".
    """
    found = _NO_MEMORY.search(str(error))
    if found is None and not isinstance(error, MemoryError):
        return None
    return NotEnoughMemory(
        f"not enough memory to {action} ({found[0] if found else 'MemoryError'}); use fewer threads (--threads) and "
        "smaller batches (--batch-size), end other programs, or raise this process's limit (ulimit -v, the "
        "container's)"
    )


def return_freed_memory(*, arenas: int | None = None) -> None:
    """Makes glibc return blocks of 4 MiB and more to the system when they are freed.

    By default glibc keeps large blocks after the first ones were freed, so that a server would keep the memory of a few
    large images. Without glibc this does nothing. Source: mallopt(3).

    Args:
        arenas: Maximum number of heaps for smaller blocks. By default a process has eight for each core, and one that
            starts many short threads, as a DICOM server does, keeps freed memory in each of them.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
        if arenas is not None:
            libc.mallopt(_ARENA_MAX, arenas)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"


def memory_limit(root: Path = ROOT) -> int | None:
    """Returns the memory of the machine or of its control groups, whichever is smaller, in bytes; None if unknown."""
    total = first_line(root / "proc/meminfo")
    limits = [int(total.split()[1]) * 1024] if total.startswith("MemTotal:") else []
    for folder, version in control_groups(root, "memory"):
        limit = first_line(folder / ("memory.max" if version == 2 else "memory.limit_in_bytes"))
        limits += [int(limit)] if limit.isdigit() else []
    return min(limits, default=None)
