"""The memory that images may take while they are read: shared by all threads, and each waits until there is enough."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from ctonnx.errors import ImageError
from ctonnx.machine import memory_limit

__all__ = ["largest", "room_for"]

_SHARE = 4  # of the memory, one part; the others are the model's, the batches' and the system's
_UNKNOWN = 4 << 30  # bytes, where the system does not tell how many it has

_taken: list[int] = []
_changed = threading.Condition()


@cache
def largest() -> int:
    """Returns how many bytes all images that are being read may take together: a quarter of this process's memory."""
    return (memory_limit() or _UNKNOWN) // _SHARE


@contextmanager
def room_for(size: tuple[int, int], bytes_a_pixel: int, name: str) -> Iterator[None]:
    """Holds memory for an image, once there is enough of it beside the images that other threads are reading.

    Args:
        size: width and height.
        bytes_a_pixel: that reading it takes at most.
        name: what an error calls it.

    Raises:
        ImageError: it takes more than there ever is.
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
    finally:
        with _changed:
            _taken.remove(needed)
            _changed.notify_all()


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
