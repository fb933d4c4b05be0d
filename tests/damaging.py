"""Damaged JSON documents for tests: each value of a document, replaced by each of a few others."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["REMOVED", "damaged", "places"]

REMOVED = object()
"""Marker for a removed value."""

_OTHERS: tuple[tuple[str, Any], ...] = (
    ("null", None),
    ("a text", "high"),
    ("an empty text", ""),
    ("a number", 7),
    ("a list", [[1], "x", None]),
    ("an empty list", []),
    ("an object", {"a": {"b": 1}}),
    ("an empty object", {}),
    ("NaN", float("nan")),
    ("infinity", float("inf")),
    ("huge", 1e308),
    ("a huge whole number", 10**19),
    ("a negative number", -1),
    ("true", True),
    ("half a character", "\ud800"),
    ("nothing", REMOVED),
)


def places(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the place of every value in a document, outermost first; of lists, only those in the first entry."""
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document[:1])
        if isinstance(document, list)
        else ()
    )
    for name, value in inner:
        yield (*at, name)
        yield from places(value, (*at, name))


def damaged(document: Any, skip: Callable[[tuple[Any, ...]], bool] = lambda place: False) -> Iterator[tuple[str, Any]]:
    """Yields a description of the damage and a damaged copy of the document, for every place and every other value.

    The copies share what is not damaged, which must not be changed.

    Args:
        document: JSON document.
        skip: Returns whether a place is left out, such as one of several that are read by the same code.
    """
    for place in places(document):
        if skip(place):
            continue
        for label, other in _OTHERS:
            holder = changed = copy.copy(document)
            for name in place[:-1]:
                holder[name] = copy.copy(holder[name])
                holder = holder[name]
            if other is REMOVED:
                del holder[place[-1]]
            else:
                holder[place[-1]] = other
            yield f"{'.'.join(map(str, place))}: {label}", changed
