"""The memory that images may take while they are read, which threads share and wait for; and how its lack is told."""

import ctypes
import platform
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ctonnx.errors import ImageError, NotEnoughMemory
from ctonnx.system.procfs import ROOT, control_groups, first_line, read_lines

__all__ = ["as_memory_error", "enough_memory", "largest", "memory_limit", "reserve_memory", "return_freed_memory"]


_SHARE = 4  # of the memory, one part; the others are the model's, the batches' and the system's
_MMAP_THRESHOLD = -3  # of mallopt(3)
_LARGE = 4 << 20  # bytes; scans of 512 x 512 are smaller, and take 3 % longer where theirs goes back each time
_UNKNOWN = 4 << 30  # bytes, where the system does not tell how many it has

# What C++ (onnxruntime), Python and the system say where there is none; a thread takes memory too.
_LACK = re.compile(
    r"std::bad_alloc|bad allocation|failed to allocate memory|cannot allocate memory"
    r"|can't start new thread|pthread_create",
    re.IGNORECASE,
)

_taken: list[int] = []
_changed = threading.Condition()


@cache
def largest() -> int:
    """Returns how many bytes all images that are being read may take together: a quarter of this process's memory."""
    return (memory_limit() or _UNKNOWN) // _SHARE


@contextmanager
def reserve_memory(size: tuple[int, int], bytes_a_pixel: int, name: str) -> Iterator[None]:
    """Holds memory for an image, once there is enough of it beside the images that other threads are reading.

    Args:
        size: Width and height.
        bytes_a_pixel: that reading it takes at most.
        name: what an error calls it.

    Raises:
        ImageError: it takes more than there ever is, or there was not enough after all.
    """
    needed = size[0] * size[1] * bytes_a_pixel
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
            f"too large for the memory that is free: {size[0]} x {size[1]} pixels take {_megabytes(needed)} to read, "
            f"of the {_megabytes(largest())} that images may take; make it smaller, or take fewer threads",
            name,
        ) from error
    finally:
        with _changed:
            _taken.remove(needed)
            _changed.notify_all()


@contextmanager
def enough_memory(action: str) -> Iterator[None]:
    """Turns a lack of memory into an error that says what to do.

    Args:
        action: what the memory is for, as in "load 'model.onnx'".

    Raises:
        NotEnoughMemory: Python, a library or the system said that there is not enough memory.
    """
    try:
        yield
    except Exception as error:  # onnxruntime's exceptions share no base class but this
        if lack := as_memory_error(error, action):
            raise lack from error
        raise


def as_memory_error(error: Exception, action: str) -> NotEnoughMemory | None:
    """Returns the error that says what to do, where Python's, a library's or the system's says that memory lacks.

    Args:
        error: what was raised.
        action: what the memory was for, as in "load 'model.onnx'".
    """
    lack = _LACK.search(str(error))
    if lack is None and not isinstance(error, MemoryError):
        return None
    return NotEnoughMemory(
        f"not enough memory to {action} ({lack[0] if lack else 'MemoryError'}); take fewer threads (--threads) and "
        "smaller batches (--batch-size), end other programs, or raise this process's limit (ulimit -v, the "
        "container's)"
    )


def return_freed_memory() -> None:
    """Has glibc return blocks of 4 MiB and more to the system when they are freed, for a process that lives for long.

    By itself glibc keeps more and more of it once large blocks were freed: a server that was sent a few large images
    would stay as large. Elsewhere this does nothing. Source: mallopt(3).
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"


def memory_limit(root: Path = ROOT) -> int | None:
    """Returns how many bytes of memory this process may use: the machine's, or what its control groups allow.

    Args:
        root: where /proc and /sys are.

    Returns:
        None where the system does not tell.
    """
    limits = [
        int(line.split()[1]) * 1024 for line in read_lines(root / "proc/meminfo")[:1] if line.startswith("MemTotal:")
    ]
    for folder, version in control_groups(root, "memory"):
        limit = first_line(folder / ("memory.max" if version == 2 else "memory.limit_in_bytes"))
        limits += [int(limit)] if limit.isdigit() else []
    return min(limits, default=None)
