"""Budgets: memory that requests share, and pixels of one request."""

import pytest

from ctonnx.errors import ImageError
from ctonnx.server.transport.budgets import MemoryBudget, PixelBudget
from ctonnx.server.transport.errors import RequestError


def test_reservations_share_the_memory() -> None:
    budget = MemoryBudget(10)
    with budget.reservation() as reserve:
        reserve(6)
        with budget.reservation() as other:
            other(4)
            with pytest.raises(RequestError, match="too much memory is in use by other requests") as error:
                other(1)
        assert (error.value.status, error.value.headers) == (503, {"Retry-After": "1"})
        assert budget.reserved == 6
        reserve(4)
    assert budget.reserved == 0


def test_images_are_rejected_after_those_that_used_all_pixels() -> None:
    budget = PixelBudget(100)
    for _ in range(2):
        budget.check()
        budget.spend((10, 9))
    with pytest.raises(ImageError, match="the images before it have 100 pixels or more, the limit of one request"):
        budget.check()
