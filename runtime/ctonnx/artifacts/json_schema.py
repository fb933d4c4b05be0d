"""Reads JSON from unknown sources into dataclasses, validated by their annotations.

`float` accepts a finite number, `tuple[str, ...]` a list of strings, `Literal` one of its values, another dataclass an
object. Fields without a default are required; unknown fields, such as those of a later release, are ignored.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class Point:
...     threshold: float
...     positive: tuple[str, ...] = ()
>>> read(Point, parse('{"threshold": 1, "positive": ["tumor"], "later": 2}'))
Point(threshold=1.0, positive=('tumor',))
>>> read(Point, {"threshold": "high"}, "operating_point")
Traceback (most recent call last):
ctonnx.artifacts.json_schema.SchemaError: expected a number at 'operating_point.threshold', found 'high'
"""

import json
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache, partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Required, TypeAlias, TypeVar, Union, cast, get_args, get_origin

from ctonnx.system.file_reading import read_text

__all__ = [
    "As",
    "Between",
    "Length",
    "SchemaError",
    "fields_of",
    "load",
    "number_at",
    "parse",
    "part_at",
    "read",
    "shown",
]

T = TypeVar("T")

_Place: TypeAlias = "str | tuple[_Place, str | int]"  # the value's path, or the place around it and its name or number
_Reader: TypeAlias = Callable[[Any, _Place], Any]

_DIGITS = 20  # maximum of a whole number, as of 64 bits
_DEPTH = 64  # maximum levels of lists and objects; valid documents have at most ten
_TOO_DEEP = "expected a JSON text, found one that is too deep"
_SHOWN = 40  # characters of a quoted value
_NAMES = 8  # quoted items of a list
_PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", NoneType: "null"}


class SchemaError(ValueError):
    """A value has the wrong type or is out of range."""


@dataclass(frozen=True)
class Between:
    """Annotation: the number must be within a range, including its ends."""

    low: float
    high: float = math.inf


@dataclass(frozen=True)
class Length:
    """Annotation: the list must have this number of items."""

    items: int


@dataclass(frozen=True)
class As:
    """Annotation: the value is read as this type, which is stricter than the annotated one."""

    kind: Any


def load(kind: type[T], file: Path) -> T:
    """Reads a JSON file as a type that `read` accepts.

    Raises:
        OSError: If it cannot be opened, or is not a regular file.
        ValueError: If it is not JSON, or not of this type.
    """
    return read(kind, parse(read_text(file)))


def parse(text: str | bytes) -> Any:
    """Parses a JSON text.

    Raises:
        ValueError: If it is not JSON, nested too deeply, has duplicate keys, or a whole number that is too long.
    """
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        document = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_without_twins, parse_int=_short)
    except RecursionError as error:
        raise SchemaError(_TOO_DEEP) from error
    level = [document]
    for _ in range(_DEPTH):
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [item for items in inner for item in items]
        if not level:
            return document
    raise SchemaError(_TOO_DEEP)  # for recursive functions that read the document


def read(kind: type[T], value: object, at: str = "") -> T:
    """Converts a result of `parse` to a type.

    Args:
        kind: Dataclass, TypedDict, or a type in their annotations: bool, int, float (finite), str, None, Path, Any,
            Literal, unions, tuples, Sequence, Mapping, and Annotated with `Between`, `Length` or `As`.
        value: Value to convert; it is not changed.
        at: Path of the value in the document, for errors.

    Raises:
        SchemaError: If the value has another type or is out of range.
        ValueError: If the constructor of a dataclass rejects it.
    """
    return cast(T, _reader(kind)(value, at))


def fields_of(value: Any) -> dict[str, Any]:
    """Returns the fields of a dataclass, for `json.dumps(..., default=fields_of)`: `asdict` copies what they contain.

    >>> json.dumps(Between(0, 1), default=fields_of)
    '{"low": 0, "high": 1}'
    """
    return {item.name: getattr(value, item.name) for item in fields(value)}


def _reader(kind: Any) -> _Reader:
    """Returns the function that reads a value as a type: annotations are taken apart once, not for each value."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Required, NotRequired):
        return _reader(arguments[0])
    if kind is Any:
        return lambda value, at: value
    if origin is Annotated:
        return _annotated(arguments)
    if origin in (Union, UnionType):
        return _union(arguments)
    if origin is Literal:
        return partial(_literal, arguments)
    if is_dataclass(kind):
        return partial(_object, kind)
    if typing.is_typeddict(kind):
        return partial(_mapping_of_known, kind)
    if origin is tuple:
        return _tuple(arguments)
    if origin in (list, Sequence):
        return partial(_list, _reader(arguments[0]))
    if origin in (dict, Mapping):
        return partial(_mapping, _reader(arguments[0]), _reader(arguments[1]))
    return _number if kind is float else partial(_plain, kind)


def _number(value: Any, at: _Place) -> float:
    if type(value) not in (int, float):
        _fail(_PLAIN[float], value, at)
    if not math.isfinite(value):
        _fail("a finite number", value, at)
    return float(value)


def _plain(kind: Any, value: Any, at: _Place) -> Any:
    if kind is Path:
        return Path(_plain(str, value, at))
    if kind not in _PLAIN:
        raise TypeError(f"expected a type that JSON can be read as, found {kind} at '{_text(at)}'")
    if type(value) is not kind:
        _fail(_PLAIN[kind], value, at)
    if kind is str and "\0" in value:
        _fail("a text without NUL characters", value, at)
    return value


def _literal(allowed: tuple[Any, ...], value: Any, at: _Place) -> Any:
    if type(value) not in map(type, allowed) or value not in allowed:
        _fail(f"one of {', '.join(map(_shown, allowed))}", value, at)
    return value


def _annotated(arguments: tuple[Any, ...]) -> _Reader:
    inner = _reader(next((note.kind for note in arguments[1:] if isinstance(note, As)), arguments[0]))
    notes = [note for note in arguments[1:] if isinstance(note, Between | Length)]
    if not notes:
        return inner

    def checked(value: Any, at: _Place) -> Any:
        found = inner(value, at)
        for note in notes:
            if isinstance(note, Length):
                if len(found) != note.items:
                    _fail(f"a list of {note.items}", value, at, f"one of {len(found)}")
            elif found is not None and not note.low <= found <= note.high:
                span = f"of {note.low:g} or more" if note.high == math.inf else f"from {note.low:g} to {note.high:g}"
                _fail(f"a number {span}", value, at)
        return found

    return checked


def _union(arguments: tuple[Any, ...]) -> _Reader:
    *others, last = (_reader(kind) for kind in arguments if kind is not NoneType)
    has_none = NoneType in arguments

    def first_that_reads(value: Any, at: _Place) -> Any:
        if value is None and has_none:
            return None
        for reader in others:
            with suppress(ValueError):
                return reader(value, at)
        return last(value, at)

    return first_that_reads


def _tuple(arguments: tuple[Any, ...]) -> _Reader:
    if arguments[-1] is Ellipsis:
        reader = _reader(arguments[0])
        return lambda value, at: tuple(_list(reader, value, at))
    readers = tuple(map(_reader, arguments))

    def of_length(value: Any, at: _Place) -> tuple[Any, ...]:
        items = _items(value, at)
        if len(items) != len(readers):
            _fail(f"a list of {len(readers)}", value, at, f"one of {len(items)}")
        return tuple(reader(items[place], (at, place)) for place, reader in enumerate(readers))

    return of_length


def _list(reader: _Reader, value: Any, at: _Place) -> list[Any]:
    return [reader(item, (at, place)) for place, item in enumerate(_items(value, at))]


def _mapping(name_reader: _Reader, reader: _Reader, value: Any, at: _Place) -> dict[Any, Any]:
    return {name_reader(name, at): reader(item, (at, name)) for name, item in _entries(value, at)}


def _object(kind: Any, value: Any, at: _Place) -> Any:
    given, readers = dict(_entries(value, at)), _readers(kind)
    found = {}
    for item in fields(kind):
        if item.name in given:
            found[item.name] = readers[item.name](given[item.name], (at, item.name))
        elif item.default is MISSING and item.default_factory is MISSING:
            _fail(_name(_hints(kind)[item.name]), None, (at, item.name), "nothing")
    return kind(**found)


def _mapping_of_known(kind: Any, value: Any, at: _Place) -> dict[str, Any]:
    """Returns all items of an object: those of the TypedDict are converted, the others must be finite."""
    given, readers = dict(_entries(value, at)), _readers(kind)
    for name in kind.__required_keys__ - given.keys():
        _fail(_name(_hints(kind)[name]), None, (at, name), "nothing")
    return {name: readers.get(name, _finite)(item, (at, name)) for name, item in given.items()}


def _finite(value: Any, at: _Place) -> Any:
    if isinstance(value, float):
        return _number(value, at)
    if isinstance(value, dict):
        return {name: _finite(item, (at, name)) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item, (at, place)) for place, item in enumerate(value)]
    return value


def _entries(value: Any, at: _Place) -> Any:
    if not isinstance(value, dict):
        _fail("an object", value, at)
    return value.items()


def _items(value: Any, at: _Place) -> Any:
    if not isinstance(value, list | tuple):
        _fail("a list", value, at)
    return value


@cache
def _readers(kind: Any) -> dict[str, _Reader]:
    """Returns the reader of each field of a dataclass or TypedDict."""
    return {name: _reader(hint) for name, hint in _hints(kind).items()}


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _name(kind: Any) -> str:
    """Returns the expected type of a missing field."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Annotated, Required, NotRequired):
        return _name(next((note.kind for note in arguments[1:] if isinstance(note, As)), arguments[0]))
    if origin in (Union, UnionType):
        return " or ".join(map(_name, arguments))
    if origin is Literal:
        return f"one of {', '.join(map(_shown, arguments))}"
    if origin in (tuple, list, Sequence):
        return "a list"
    return _PLAIN.get(str if kind is Path else kind, "an object")


def _text(at: _Place) -> str:
    """Returns a place for a message, such as `metrics.test.images[0]`."""
    if isinstance(at, str):
        return at
    above, name = _text(at[0]), at[1]
    if isinstance(name, int):
        return f"{above}[{name}]"
    return f"{above}.{_key(name)}" if above else _key(name)


def _key(name: str) -> str:
    """Returns a key for a message, with control characters escaped."""
    return _cut(name if name.isprintable() else repr(name)[1:-1])


def _fail(expected: str, value: Any, at: _Place, found: str | None = None) -> None:
    text = _text(at)
    place = f" at '{text}'" if text else ""
    raise SchemaError(f"expected {expected}{place}, found {found or _shown(value)}")


def shown(names: Sequence[str]) -> str:
    """Returns a list of names for an error: the first ones, each cut if it is long."""
    more = ", ..." if len(names) > _NAMES else ""
    return f"[{', '.join(map(_shown, names[:_NAMES]))}{more}]"


def _shown(value: Any) -> str:
    if isinstance(value, dict | list | tuple):
        return "an object" if isinstance(value, dict) else "a list"
    return _cut({None: "null", True: "true", False: "false"}[value] if isinstance(value, bool | None) else repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise SchemaError(f"expected each key once in an object, found '{_key(twin)}' twice")
    return found


def _short(text: str) -> int:
    if len(text) > _DIGITS:
        raise SchemaError(f"expected whole numbers of at most {_DIGITS} digits, found one of {len(text)}")
    return int(text)


def part_at(values: Any, name: str) -> Mapping[str, Any]:
    """Returns the object at a name; an empty one if `values` is not an object, or has none there."""
    part = values.get(name) if isinstance(values, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def number_at(values: Any, name: str) -> float | None:
    """Returns the finite number at a name; None if `values` is not an object, or has none there."""
    value = values.get(name) if isinstance(values, Mapping) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number and value is not None else None
