"""Budgets of the server: the memory of all requests, and the pixels of one request."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from ctonnx.errors import ImageError
from ctonnx.server.transport.errors import RequestError

__all__ = ["MemoryBudget", "PixelBudget", "Reserve"]


class PixelBudget:
    """Pixels that all images of one request may have together, so that it does not occupy the cores for long.

    Args:
        pixels: Number of pixels.
    """

    def __init__(self, pixels: int) -> None:
        self._pixels = self._left = pixels

    def check(self) -> None:
        """Raises an error for an image that is not decoded yet if no pixels are left.

        Raises:
            ImageError: If the images before it have used all pixels.
        """
        if self._left <= 0:
            raise ImageError(
                f"the images before it have {self._pixels} pixels or more, the limit of one request; send it in "
                "another one",
                "file",
            )

    def spend(self, size: tuple[int, int]) -> None:
        """Subtracts the pixels of a decoded image."""
        self._left -= size[0] * size[1]


Reserve: TypeAlias = Callable[[int], None]
"""Reserves memory for a number of bytes, in addition to those reserved before."""


class MemoryBudget:
    """Memory for the bodies and responses of all requests of an event loop.

    Args:
        limit: Bytes.

    Attributes:
        reserved: Bytes in use.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.reserved = 0

    @contextmanager
    def reservation(self) -> Iterator[Reserve]:
        """Yields a function that reserves memory; all of it is released at the end of the block.

        The function raises `RequestError` (503) if the memory is not available.
        """
        own = 0

        def reserve(count: int) -> None:
            nonlocal own
            if self.reserved + count > self._limit:
                raise RequestError(
                    503, "too much memory is in use by other requests; try again soon", {"Retry-After": "1"}
                )
            own += count
            self.reserved += count

        try:
            yield reserve
        finally:
            self.reserved -= own
