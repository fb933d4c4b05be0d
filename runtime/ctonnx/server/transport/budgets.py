"""Budgets of the server: the memory of all requests, and the pixels of one request."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from ctonnx.errors import ImageError
from ctonnx.server.transport.errors import RequestError

__all__ = ["MemoryBudget", "PixelBudget", "Reserve"]


class PixelBudget:
    """Number of pixels that the images of one request may have together, so that it occupies no core for long."""

    def __init__(self, pixels: int) -> None:
        self._pixels = self._left = pixels

    def check(self) -> None:
        """Raises an ImageError for an image that is not decoded yet if those before it have used all pixels."""
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
    """Memory in bytes for the bodies and responses of all requests of an event loop; `reserved` is in use."""

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
                message = "too much memory is in use by other requests; try again soon"
                raise RequestError(503, message, {"Retry-After": "1"})
            own += count
            self.reserved += count

        try:
            yield reserve
        finally:
            self.reserved -= own
