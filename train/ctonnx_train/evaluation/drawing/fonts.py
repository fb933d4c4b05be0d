"""Fonts for class names in any script: the installed fonts, with letters that no font has written as codes."""

import unicodedata
from functools import cache

from matplotlib.font_manager import FontProperties, findfont, get_font

__all__ = ["columns", "drawable", "families", "font_file"]

# The first is part of matplotlib; installed ones of the others are used for letters that are missing from the first.
_FAMILIES = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Noto Sans JP",
    "Noto Sans KR",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Microsoft YaHei",
    "SimHei",
    "Malgun Gothic",
    "Yu Gothic",
    "PingFang SC",
    "Hiragino Sans",
    "Heiti TC",
    "Arial Unicode MS",
    "Noto Sans",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Sans Bengali",
    "Noto Sans Tamil",
)


@cache
def families() -> tuple[str, ...]:
    """Returns the installed font families, in the order in which they are searched for a letter."""
    return tuple(name for name in _FAMILIES if _file(name) is not None)


def drawable(text: str) -> str:
    """Returns a readable text: letters that no installed font has are replaced by their codes, such as `\\u80ba`."""
    return "".join(
        letter if not letter.isprintable() or _has_glyph(letter) else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def columns(text: str) -> int:
    """Returns the width of a text in letters; East Asian letters count twice.

    >>> columns("lung"), columns("肺癌")
    (4, 4)
    """
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def font_file(text: str) -> str:
    """Returns the file of the installed font that has most of a text's letters."""
    return max(filter(None, map(_file, families())), key=lambda file: sum(_has(file, letter) for letter in set(text)))


def _has_glyph(letter: str) -> bool:
    return any(_has(file, letter) for file in map(_file, families()) if file is not None)


@cache
def _has(file: str, letter: str) -> bool:
    return get_font(file).get_char_index(ord(letter)) > 0


@cache
def _file(family: str) -> str | None:
    try:
        return str(findfont(FontProperties(family=family), fallback_to_default=False))
    except ValueError:
        return None
