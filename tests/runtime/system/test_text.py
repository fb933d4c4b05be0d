"""An estimated time is rounded up and never claims to be nothing."""

import pytest

from ctonnx.system.text import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "5 s"), (5, "5 s"), (5.1, "10 s"), (55, "55 s"), (55.1, "1 min"), (60, "1 min"), (60.1, "2 min")],
)
def test_below_a_minute_in_fives_above_in_minutes(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(("seconds", "words"), [(3541, "1 h"), (3601, "1 h 1 min"), (86400, "24 h")])
def test_hours_stand_before_minutes(seconds: float, words: str) -> None:
    assert duration(seconds) == words
