"""Plurals, quoted names, durations and tables of messages and reports."""

from pathlib import Path

import pytest

from ctonnx.system.text import aligned, counted, duration, escape_control, quoted, table

ROWS = [["case", "ms"], ["batch 1", "12.5"], ["all", "3"]]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "5 s"), (5, "5 s"), (5.1, "10 s"), (55, "55 s"), (55.1, "1 min"), (60, "1 min"), (60.1, "2 min")],
)
def test_below_a_minute_in_fives_above_in_minutes(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(("seconds", "words"), [(3541, "1 h"), (3601, "1 h 1 min"), (86400, "24 h")])
def test_hours_come_before_minutes(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_quoted_names_are_joined_by_commas() -> None:
    assert quoted(["a", Path("b c")]) == "'a', 'b c'"
    assert quoted([]) == ""


@pytest.mark.parametrize(("count", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files")])
def test_noun_is_singular_for_one(count: int, text: str) -> None:
    assert counted(count, "file") == text


def test_control_characters_and_surrogates_are_escaped_and_letters_are_kept() -> None:
    assert escape_control("a\n\x1b[2J\udc80 ä") == "a\\n\\x1b[2J\\udc80 ä"


def test_table_is_markdown() -> None:
    assert table(ROWS[0], ROWS[1:]) == ["| case | ms |", "| --- | --- |", "| batch 1 | 12.5 |", "| all | 3 |"]


def test_columns_of_numbers_are_aligned_to_the_right_in_a_table() -> None:
    assert table(ROWS[0], ROWS[1:], numbers=True)[1] == "| --- | ---: |"


def test_padded_table_has_columns_of_equal_width() -> None:
    assert table(ROWS[0], ROWS[1:], padded=True) == [
        "| case    | ms   |",
        "| ------- | ---- |",
        "| batch 1 | 12.5 |",
        "| all     | 3    |",
    ]


def test_aligned_columns_are_to_the_right_unless_they_are_named() -> None:
    assert aligned(ROWS) == ["case       ms", "batch 1  12.5", "all         3"]
    assert aligned(ROWS, left=(0, 1)) == ["case     ms", "batch 1  12.5", "all      3"]
