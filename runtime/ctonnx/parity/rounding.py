"""Numbers as text and in documents, never rounded to the other side of a bound."""

import math
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Literal, TypeAlias

__all__ = [
    "Form",
    "cautious",
    "exactly",
    "points_text",
    "rounded_down",
    "rounded_up",
    "share_of_percent",
    "shown",
    "threshold_text",
]

Form: TypeAlias = Literal["%", "e", "f", "g"]

_MOST_DIGITS = 17  # enough to distinguish any two floats


def shown(value: float, *bounds: float, digits: int, form: Form = "g", sign: str = "") -> str:
    """Returns a number as text, in `digits` or as many more as needed to stay on its side of each bound.

    `digits`, `form` and `sign` are those of `format`. A percentage also stays on its side of 0 and 100 %: only all
    images are 100 %.

    >>> shown(256 / 259, 0.99, digits=1, form="%"), shown(0.98996, 0.99, digits=1, form="%")
    ('98.8%', '98.996%')
    """
    text = f"{value:{sign}.{digits}{form}}"
    if not math.isfinite(value):
        return text
    compared = (*bounds, 0.0, 1.0) if form == "%" else bounds
    sides = [_side(_exact(value), bound) for bound in compared]
    while digits < _MOST_DIGITS and [_side(_read(text), bound) for bound in compared] != sides:
        digits += 1
        text = f"{value:{sign}.{digits}{form}}"
    return text


def exactly(bound: float, *, digits: int = 0, form: Form = "g") -> str:
    """Returns a bound as text, with all its digits.

    >>> exactly(0.99, digits=2, form="%"), exactly(0.98765, digits=2, form="%"), exactly(0.005)
    ('99.00%', '98.765%', '0.005')
    """
    return shown(bound, bound, digits=digits, form=form)


def threshold_text(threshold: float, digits: int = 6) -> str:
    """Returns the threshold of a score as text, rounded down: each score that reaches the threshold reaches the text.

    It has `digits` decimals, or more if these would leave fewer significant digits, as of a threshold near 0. A
    threshold above 1, which no score reaches, and one that is not positive have all their digits.

    >>> threshold_text(0.31568277), threshold_text(0.5), threshold_text(0.000012345678)
    ('0.315682', '0.500000', '0.0000123456')
    """
    if not 0 < threshold <= 1:
        return exactly(threshold, digits=digits, form="f")
    floor = Context(prec=digits, rounding=ROUND_FLOOR).create_decimal(_exact(threshold))
    places = max(digits, digits - 1 - floor.adjusted())
    return f"{floor:.{places}f}"


def points_text(share: float) -> str:
    """Returns a share as percentage points, with all its digits."""
    return exactly(share, form="%").removesuffix("%")


def rounded_up(value: float, digits: int = 3) -> float:
    """Returns a difference, rounded up to a number of significant digits.

    >>> rounded_up(1.0000001e-4)
    0.000101
    """
    if not math.isfinite(value):
        return value
    return float(Context(prec=digits, rounding=ROUND_CEILING).create_decimal(_exact(value)))


def rounded_down(value: float, places: int = 6) -> float:
    """Returns a share, rounded down to a number of decimals.

    >>> rounded_down(0.98999999), rounded_down(0.99)
    (0.989999, 0.99)
    """
    if not math.isfinite(value):
        return value
    return float(_exact(value).quantize(Decimal(1).scaleb(-places), rounding=ROUND_FLOOR))


def cautious(value: float | None, interval: Sequence[float] | None = None, *, up: bool = False) -> str:
    """Returns a metric as text with three decimals, never rounded in the model's favour; an undefined one is `-`.

    It is rounded down, or up if a higher value is worse; the ends of its interval are rounded outward.

    >>> cautious(0.94999, [0.85555, 0.98111]), cautious(0.09911, up=True), cautious(0.95), cautious(None)
    ('0.949 [0.855, 0.982]', '0.100', '0.950', '-')
    """
    if value is None:
        return "-"
    numbers = [(value, up), *zip(interval or (), (False, True), strict=False)]
    text, *ends = (f"{-rounded_down(-one, 3) + 0.0 if upward else rounded_down(one, 3):.3f}" for one, upward in numbers)
    return f"{text} [{', '.join(ends)}]" if ends else text


def share_of_percent(percent: float) -> float:
    """Returns a percentage as a share: the nearest float.

    A division of floats can miss it: `0.7 / 100` is less than 0.007, the share of 7 of 1000 images.

    >>> share_of_percent(0.7)
    0.007
    """
    return float(_exact(percent) / 100)


def _exact(value: float) -> Decimal:
    """Returns the shortest decimal number that rounds to this float."""
    return Decimal(repr(float(value)))


def _read(text: str) -> Decimal:
    return Decimal(text.removesuffix("%")) / (100 if text.endswith("%") else 1)


def _side(value: Decimal, bound: float) -> int:
    if not math.isfinite(bound):
        return 0
    return (value > (exact := _exact(bound))) - (value < exact)
