"""Numbers as text and in documents, which no rounding takes to the better side of their bound."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Literal, TypeAlias

__all__ = ["Form", "exactly", "rounded_down", "rounded_up", "share_of_percent", "shown"]

Form: TypeAlias = Literal["%", "e", "f", "g"]

_MOST_DIGITS = 17  # which tell any two floats apart


def shown(value: float, *bounds: float, digits: int, form: Form = "g", sign: str = "") -> str:
    """Returns a number as text, with as many digits more as keep it on its own side of each bound.

    A share is kept apart from none and all too: 100 % is what all images are, and nothing less.

    >>> shown(256 / 259, 0.99, digits=1, form="%"), shown(0.98996, 0.99, digits=1, form="%")
    ('98.8%', '98.996%')

    Args:
        value: The number.
        bounds: What it was compared with.
        digits: The fewest digits, as the form counts them.
        form: The presentation type, as in `format`.
        sign: `+` shows the sign of positive numbers too.
    """
    text = f"{value:{sign}.{digits}{form}}"
    if not math.isfinite(value):
        return text
    held = (*bounds, 0.0, 1.0) if form == "%" else bounds
    sides = [_side(_exact(value), bound) for bound in held]
    while digits < _MOST_DIGITS and [_side(_read(text), bound) for bound in held] != sides:
        digits += 1
        text = f"{value:{sign}.{digits}{form}}"
    return text


def exactly(bound: float, *, digits: int = 0, form: Form = "g") -> str:
    """Returns a bound as text, with all of its digits.

    >>> exactly(0.99, digits=2, form="%"), exactly(0.98765, digits=2, form="%"), exactly(0.005)
    ('99.00%', '98.765%', '0.005')
    """
    return shown(bound, bound, digits=digits, form=form)


def rounded_up(value: float, digits: int = 3) -> float:
    """Returns a difference with that many significant digits, and never a smaller one.

    >>> rounded_up(1.0000001e-4)
    0.000101
    """
    if not math.isfinite(value):
        return value
    return float(Context(prec=digits, rounding=ROUND_CEILING).create_decimal(_exact(value)))


def rounded_down(value: float, places: int = 6) -> float:
    """Returns a share with that many decimals, and never a larger one.

    >>> rounded_down(0.98999999), rounded_down(0.99)
    (0.989999, 0.99)
    """
    if not math.isfinite(value):
        return value
    return float(_exact(value).quantize(Decimal(1).scaleb(-places), rounding=ROUND_FLOOR))


def share_of_percent(percent: float) -> float:
    """Returns the share that a percentage means: the float which is nearest to it.

    A division of floats may miss it: `0.7 / 100` lies below 0.007, which is what 7 of 1000 images are.

    >>> share_of_percent(0.7)
    0.007
    """
    return float(_exact(percent) / 100)


def _exact(value: float) -> Decimal:
    """Returns the decimal number that was meant: the shortest that reads as this float."""
    return Decimal(repr(float(value)))


def _read(text: str) -> Decimal:
    return Decimal(text.removesuffix("%")) / (100 if text.endswith("%") else 1)


def _side(value: Decimal, bound: float) -> int:
    if not math.isfinite(bound):
        return 0
    return (value > (exact := _exact(bound))) - (value < exact)
