"""Invalid settings raise an error."""

from typing import Any

import pytest

from ctonnx.server.settings import Limits, Settings


@pytest.mark.parametrize("name", ["body_bytes", "body_seconds", "pixels", "files", "seconds"])
def test_limit_of_zero_is_rejected(name: str) -> None:
    values: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"expected {name} above 0, found 0"):
        Limits(**values)


def test_queue_has_space_for_one_request() -> None:
    assert Settings(queue=64).queue == 64
    with pytest.raises(ValueError, match="expected a queue of at least the 64 images of one request, found 63"):
        Settings(queue=63)


@pytest.mark.parametrize("key", ["", "ключ", "two\nlines"])
def test_key_that_is_invalid_in_a_header_is_rejected(key: str) -> None:
    with pytest.raises(ValueError, match="expected a key of printable ASCII characters"):
        Settings(key=key)


@pytest.mark.parametrize("values", [{"max_batch": 0}, {"max_delay": -1}])
def test_empty_batch_and_negative_delay_are_rejected(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected max_batch from 1 and max_delay from 0"):
        Settings(**values)
