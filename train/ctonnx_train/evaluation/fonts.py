"""Fonts for class names in any script: what is installed and has the letters, else the letters' codes."""

import unicodedata
from functools import cache

from matplotlib.font_manager import FontProperties, findfont, get_font

__all__ = ["columns", "drawable", "families"]

# Matplotlib comes with the first; of the others, what is installed is asked for letters that the first lacks.
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
    """Returns the families of the fonts that are installed, in the order in which they are asked for a letter."""
    return tuple(name for name in _FAMILIES if _file(name) is not None)


def drawable(text: str) -> str:
    """Returns a text in which letters that no installed font has are their codes, as `\\u80ba`, and is so readable."""
    return "".join(
        letter if not letter.isprintable() or _has_glyph(letter) else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def columns(text: str) -> int:
    """Returns how many letters of ordinary width a text is wide: those of East Asia are twice as wide.

    >>> columns("lung"), columns("肺癌")
    (4, 4)
    """
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


@cache
def _has_glyph(letter: str) -> bool:
    files = (_file(name) for name in families())
    return any(get_font(file).get_char_index(ord(letter)) for file in files if file is not None)


@cache
def _file(family: str) -> str | None:
    try:
        return str(findfont(FontProperties(family=family), fallback_to_default=False))
    except ValueError:
        return None
