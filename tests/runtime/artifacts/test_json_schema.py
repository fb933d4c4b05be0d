"""JSON is validated by the annotations; an error names the path of the invalid value."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from ctonnx.artifacts.json_schema import As, Between, Length, SchemaError, load, number_at, parse, part_at, read


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A part."""

    threshold: Annotated[float, Between(0, 1)]
    pair: tuple[float, float] | None = None


class Known(TypedDict):
    """Some keys of an object."""

    count: int
    name: NotRequired[str]


@dataclass(frozen=True, kw_only=True)
class Whole:
    """All supported annotations."""

    text: str
    flag: bool
    number: float
    whole: Annotated[int, Between(1)]
    file: Path
    color: Literal["grey", "rgb"]
    inner: Inner
    classes: tuple[str, ...]
    shares: Mapping[str, float]
    rows: Sequence[int | str]
    facts: Annotated[Mapping[str, Any], As(Known)]
    anything: Any = None
    maybe: Inner | None = None
    low_high: Annotated[Sequence[float], Length(2)] | None = None
    later: list[int] = field(default_factory=list)


GOOD: dict[str, Any] = {
    "text": "a",
    "flag": True,
    "number": 1,
    "whole": 2,
    "file": "/data",
    "color": "rgb",
    "inner": {"threshold": 0.5, "pair": [0, 1]},
    "classes": ["x", "y"],
    "shares": {"x": 1},
    "rows": [1, "two"],
    "facts": {"count": 3, "more": [1.5, {"a": None}]},
}


def test_document_is_read_by_the_annotations() -> None:
    found = read(Whole, GOOD | {"unknown": 1})
    assert found == Whole(
        text="a",
        flag=True,
        number=1.0,
        whole=2,
        file=Path("/data"),
        color="rgb",
        inner=Inner(threshold=0.5, pair=(0.0, 1.0)),
        classes=("x", "y"),
        shares={"x": 1.0},
        rows=[1, "two"],
        facts={"count": 3, "more": [1.5, {"a": None}]},
    )
    assert [type(value) for value in (found.number, found.whole, found.shares["x"])] == [float, int, float]


def test_document_is_not_changed() -> None:
    before = repr(GOOD)
    read(Whole, GOOD)
    assert repr(GOOD) == before


NAN = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": 1}, "expected a text at 'text', found 1"),
        ({"text": None}, "expected a text at 'text', found null"),
        ({"text": "a\0b"}, "expected a text without NUL characters at 'text', found 'a\\x00b'"),
        ({"flag": 1}, "expected true or false at 'flag', found 1"),
        ({"number": True}, "expected a number at 'number', found true"),
        ({"number": "1"}, "expected a number at 'number', found '1'"),
        ({"number": NAN}, "expected a finite number at 'number', found nan"),
        ({"number": float("-inf")}, "expected a finite number at 'number', found -inf"),
        ({"number": [1]}, "expected a number at 'number', found a list"),
        ({"whole": 2.0}, "expected a whole number at 'whole', found 2.0"),
        ({"whole": True}, "expected a whole number at 'whole', found true"),
        ({"whole": 0}, "expected a number of 1 or more at 'whole', found 0"),
        ({"file": 1}, "expected a text at 'file', found 1"),
        ({"color": "blue"}, "expected one of 'grey', 'rgb' at 'color', found 'blue'"),
        ({"color": ["rgb"]}, "expected one of 'grey', 'rgb' at 'color', found a list"),
        ({"inner": None}, "expected an object at 'inner', found null"),
        ({"inner": []}, "expected an object at 'inner', found a list"),
        ({"inner": {}}, "expected a number at 'inner.threshold', found nothing"),
        ({"inner": {"threshold": "x" * 99}}, f"expected a number at 'inner.threshold', found '{'x' * 39}..."),
        ({"inner": {"threshold": 2}}, "expected a number from 0 to 1 at 'inner.threshold', found 2"),
        ({"inner": {"threshold": 0, "pair": [1]}}, "expected a list of 2 at 'inner.pair', found one of 1"),
        ({"inner": {"threshold": 0, "pair": [1, None]}}, "expected a number at 'inner.pair[1]', found null"),
        ({"classes": "xy"}, "expected a list at 'classes', found 'xy'"),
        ({"classes": 2}, "expected a list at 'classes', found 2"),
        ({"classes": ["x", 1]}, "expected a text at 'classes[1]', found 1"),
        ({"shares": {"x": "y"}}, "expected a number at 'shares.x', found 'y'"),
        ({"rows": [1, None]}, "expected a text at 'rows[1]', found null"),
        ({"facts": {}}, "expected a whole number at 'facts.count', found nothing"),
        ({"facts": {"count": 1, "name": 1}}, "expected a text at 'facts.name', found 1"),
        ({"facts": {"count": 1, "more": [{"a": NAN}]}}, "expected a finite number at 'facts.more[0].a', found nan"),
        ({"shares": {"x\n\x1b[2J": "y"}}, "expected a number at 'shares.x\\n\\x1b[2J', found 'y'"),
        ({"low_high": [1.0]}, "expected a list of 2 at 'low_high', found one of 1"),
        ({"maybe": 0}, "expected an object at 'maybe', found 0"),
    ],
    ids=repr,
)
def test_value_of_another_type_is_reported_with_its_path(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=f"^{re.escape(message)}$"):
        read(Whole, GOOD | change)


@pytest.mark.parametrize("name", GOOD)
def test_field_without_a_default_is_required(name: str) -> None:
    kinds = {"text": "a text", "flag": "true or false", "number": "a number", "whole": "a whole number"}
    kinds |= {"file": "a text", "color": "one of 'grey', 'rgb'", "classes": "a list", "rows": "a list"}
    message = f"expected {kinds.get(name, 'an object')} at '{name}', found nothing"
    with pytest.raises(SchemaError, match=f"^{re.escape(message)}$"):
        read(Whole, {key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize("value", [None, 3, "text", [], [GOOD]])
def test_document_that_is_not_an_object_is_rejected(value: Any) -> None:
    with pytest.raises(SchemaError, match=r"^expected an object, found "):
        read(Whole, value)


def test_type_that_json_does_not_have_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="expected a type that JSON can be read as, found <class 'complex'>"):
        read(complex, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 65 + "]" * 65, "expected a JSON text, found one that is too deep"),
        ('{"a":' * 200 + "1" + "}" * 200, "expected a JSON text, found one that is too deep"),
        ("[" * 100_000, "expected a JSON text, found one that is too deep"),
        ('{"a":' * 100_000, "expected a JSON text, found one that is too deep"),
        ("9" * 100_000, "expected whole numbers of at most 20 digits, found one of 100000"),
        ("-" + "9" * 20, "expected whole numbers of at most 20 digits, found one of 21"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "expected each key once in an object, found 'c' twice"),
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ("{'a': 1}", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ],
    ids=[
        "65 levels",
        "200 levels",
        "deep list",
        "deep object",
        "long number",
        "long negative",
        "twice",
        "nothing",
        "Python",
    ],
)
def test_text_that_is_not_valid_json_is_a_value_error(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse(text)


def test_text_of_64_levels_is_read() -> None:
    assert repr(parse("[" * 64 + "]" * 64)) == "[" * 64 + "]" * 64


def test_bytes_are_utf_8_with_or_without_a_mark() -> None:
    assert (
        parse(b'{"a": "\xc3\xa4"}')
        == parse(b'\xef\xbb\xbf{"a": "\xc3\xa4"}')
        == parse('\ufeff{"a": "ä"}')
        == {"a": "ä"}
    )
    with pytest.raises(UnicodeDecodeError):
        parse(b'{"a": "\xe4"}')


def test_file_is_read_as_its_text_is(tmp_path: Path) -> None:
    (tmp_path / "inner.json").write_bytes(b'\xef\xbb\xbf{"threshold": 1, "later": []}')
    assert load(Inner, tmp_path / "inner.json") == Inner(threshold=1.0)
    with pytest.raises(FileNotFoundError):
        load(Inner, tmp_path / "none.json")


@pytest.mark.parametrize("values", [None, 3, {}, {"a": None}, {"a": True}, {"a": float("nan")}, {"a": [1]}])
def test_what_is_absent_or_of_another_type_is_no_part_and_no_number(values: Any) -> None:
    assert part_at(values, "a") == {}
    assert number_at(values, "a") is None


def test_part_and_number_are_found_by_name() -> None:
    assert part_at({"a": {"b": 1}}, "a") == {"b": 1}
    assert number_at({"a": 2}, "a") == 2.0
