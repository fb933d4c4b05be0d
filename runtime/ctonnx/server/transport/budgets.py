"""Budgets of the server: the memory of all uploads, and the pixels of one request."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from ctonnx.errors import ImageError
from ctonnx.server.transport.errors import RequestError

__all__ = ["MemoryBudget", "PixelBudget", "Take"]


class PixelBudget:
    """The pixels that the images of one request may have together: one request should not hold the cores for long.

    Args:
        pixels: So many.
    """

    def __init__(self, pixels: int) -> None:
        self._pixels = self._left = pixels

    def spend(self, size: tuple[int, int]) -> None:
        """Takes down an image that was decoded."""
        self._left -= size[0] * size[1]

    def refuse_when_spent(self) -> None:
        """Turns an image away that is not decoded yet.

        Raises:
            ImageError: Those before it had all pixels that there are.
        """
        if self._left <= 0:
            raise ImageError(
                f"the images before it have {self._pixels} pixels or more, which is all that one request may have; "
                "send it in another",
                "file",
            )


Take: TypeAlias = Callable[[int], None]
"""Takes room for so many bytes more."""


class MemoryBudget:
    """The memory that bodies and answers take, over all requests of an event loop.

    Args:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0

    @contextmanager
    def held(self) -> Iterator[Take]:
        """Yields what takes room for so many bytes more, all of which is given back when the block ends.

        What it yields raises a Refusal where there is no more.
        """
        own = 0

        def take(count: int) -> None:
            nonlocal own
            if self.taken + count > self._most:
                raise RequestError(
                    503, "too much memory is taken by other requests; try again soon", {"Retry-After": "1"}
                )
            own += count
            self.taken += count

        try:
            yield take
        finally:
            self.taken -= own
