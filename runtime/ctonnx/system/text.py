"""Text for people: plurals, quoted names, escaped control characters, durations and tables."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeAlias

__all__ = ["Log", "aligned", "counted", "duration", "escape_control", "escape_undecodable", "quoted", "table"]

Log: TypeAlias = Callable[[str], object]
"""Called with each progress message, one line without its end."""


def escape_control(text: str) -> str:
    """Returns text whose characters that end a line or control the terminal are escaped as in Python."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def escape_undecodable(text: str) -> str:
    """Returns text whose surrogates, the undecodable bytes of file names, are escaped as in JSON.

    >>> escape_undecodable("scan\\udcff.png")
    'scan\\\\udcff.png'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def duration(seconds: float) -> str:
    """Returns an estimated time, rounded up: to 5 seconds below a minute, to minutes above.

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
    """Returns a number with its noun for a message: `1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False, padded: bool = False
) -> list[str]:
    """Returns the lines of a Markdown table.

    Args:
        heads: Names of the columns.
        rows: Cells of each row, with `|` escaped.
        numbers: True aligns all columns but the first to the right.
        padded: True gives the cells of a column equal width, for a terminal.
    """
    heads, *rows = _padded([heads, *rows], range(len(heads))) if padded else [heads, *rows]
    rules = [("-" * len(head) if padded else "---") + ":"[: numbers and place > 0] for place, head in enumerate(heads)]
    return [f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows)]


def aligned(rows: Iterable[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """Returns rows of cells as lines of text with columns of equal width.

    Args:
        rows: Cells of each row.
        left: Places of the columns that are aligned to the left; the others are aligned to the right.
    """
    return ["  ".join(cells).rstrip() for cells in _padded(rows, left)]


def _padded(rows: Iterable[Sequence[str]], left: Collection[int]) -> list[list[str]]:
    columns = [
        [cell.ljust(width) if place in left else cell.rjust(width) for cell in column]
        for place, column in enumerate(zip(*rows, strict=True))
        for width in [max(map(len, column))]
    ]
    return [list(cells) for cells in zip(*columns, strict=True)]
