"""Text for people: plurals, quoted names, escaped control characters, durations and Markdown tables."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

__all__ = ["Log", "counted", "duration", "escape_control", "quoted", "table"]

Log: TypeAlias = Callable[[str], object]
"""Called with each progress message, one line without its end."""


def escape_control(text: str) -> str:
    """Escapes what would break the row or steer the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


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


def quoted(names: Iterable[object]) -> str:
    """Returns names for a message: `'a', 'b'`."""
    return ", ".join(f"'{name}'" for name in names)


def counted(count: int, noun: str) -> str:
    """Returns a number of things for a message: `1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]
