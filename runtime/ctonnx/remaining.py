"""How long something will take still, in words that claim no more than an estimate knows."""

import math

__all__ = ["duration"]


def duration(seconds: float) -> str:
    """Returns a time that was estimated, rounded up: to 5 seconds below a minute, to minutes above.

    >>> [duration(seconds) for seconds in (0.2, 38, 59, 61, 3540, 3660, 7200)]
    ['5 s', '40 s', '1 min', '2 min', '59 min', '1 h 1 min', '2 h']

    Args:
        seconds: 0 or more.
    """
    fives = max(5, 5 * math.ceil(seconds / 5))
    if fives < 60:
        return f"{fives} s"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return " ".join([*([f"{hours} h"] if hours else []), *([f"{minutes} min"] if minutes else [])])
