"""Merging parts: the rows of the whole run, or an error that names what is missing, double or different."""

import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from tests.runtime.prediction.output.parts.made_rows import HEAD, row, stopped_after, write_part

from ctonnx.errors import CtonnxError
from ctonnx.prediction.output.parts.merging import Merged, merge_parts
from ctonnx.prediction.output.parts.part_file import Head
from ctonnx.prediction.output.parts.split import Listing, Split


def part(folder: Path, number: int, count: int, *rows: str, listed: int, head: Head = HEAD, name: str = "") -> Path:
    return write_part(
        folder / f"{name or number}.jsonl", replace(head, shard=f"{number}/{count}"), *rows, listed=listed
    )


def message(folder: Path, *parts: Path) -> str:
    with pytest.raises(CtonnxError) as caught:
        merge_parts(parts, folder / "all.jsonl")
    assert not (folder / "all.jsonl").exists()
    return str(caught.value).replace(f"{folder}{os.sep}", "")


@pytest.mark.parametrize("at_a_time", [1, 2, 7, 1000])
def test_rows_are_sorted_by_file_and_frame(tmp_path: Path, at_a_time: int) -> None:
    rows = [
        *(row(f"{letter}.png") for letter in "abc"),
        *(row("m.dcm", frame=frame) for frame in range(12)),
        row("m.dcm#1"),
        row("x.png", error="damaged"),
        row("y\udcff.png"),
        row("z\u2028\n.png"),
        row("\u00e9.png"),
    ]
    mixed = sorted(rows, key=lambda one: sha256(one.encode("utf-8", "replace")).digest())
    parts = [part(tmp_path, number, 3, *mixed[number - 1 :: 3], listed=20) for number in (1, 2, 3)]
    steps: list[int] = []
    for order in (parts, parts[::-1]):
        merged = merge_parts(order, tmp_path / "all.jsonl", step=steps.append, at_a_time=at_a_time)
        assert merged == Merged(parts=3, rows=20, failed=1)
        expected = [one.encode("utf-8", "backslashreplace").decode() for one in rows]
        assert (tmp_path / "all.jsonl").read_text(encoding="utf-8").removesuffix("\n").split("\n") == expected
    assert sum(steps) == 40
    assert sorted(os.listdir(tmp_path)) == ["1.jsonl", "2.jsonl", "3.jsonl", "all.jsonl"]


def test_rows_are_printed_without_an_output(tmp_path: Path) -> None:
    printed: list[str] = []
    merge_parts([part(tmp_path, 1, 1, row("b"), row("a"), listed=2)], None, print_row=printed.append)
    assert printed == [row("a"), row("b")]


def test_shard_without_files_counts(tmp_path: Path) -> None:
    parts = [part(tmp_path, 1, 2, row("a"), listed=1), part(tmp_path, 2, 2, listed=1)]
    assert merge_parts(parts, tmp_path / "all.jsonl").rows == 1


def test_missing_parts_are_named(tmp_path: Path) -> None:
    parts = [part(tmp_path, number, 16, listed=0) for number in range(1, 17) if number not in (3, 16)]
    assert message(tmp_path, *parts) == "expected all parts from 1/16 to 16/16, found 14; missing: 3/16, 16/16"


def test_of_many_missing_parts_twenty_are_named(tmp_path: Path) -> None:
    found = message(tmp_path, part(tmp_path, 1, 500, listed=0))
    assert found.endswith(
        "found 1; missing: " + ", ".join(f"{number}/500" for number in range(2, 22)) + " and 479 more"
    )


def test_part_that_is_there_twice_is_named(tmp_path: Path) -> None:
    one, two = part(tmp_path, 1, 2, row("a"), listed=2), part(tmp_path, 2, 2, row("b"), listed=2)
    again = part(tmp_path, 1, 2, row("a"), listed=2, name="again")
    assert message(tmp_path, one, two, again) == (
        "expected each part once, found 1/2 in '1.jsonl' and in 'again.jsonl'; leave one out"
    )
    assert merge_parts([one, two, one], tmp_path / "all.jsonl").parts == 2  # the same file, named twice


def test_part_that_is_not_complete_is_named(tmp_path: Path) -> None:
    one = part(tmp_path, 1, 2, row("a"), listed=2)
    split = Split(["b"], Listing(2, "digest"))
    stopped_after(tmp_path / "2.jsonl", row("b"), head=replace(HEAD, shard="2/2"), split=split)
    assert message(tmp_path, one, tmp_path / "2.jsonl") == (
        "expected complete parts, found 1 part of a run that was stopped or is running: '2.jsonl'; continue with "
        "--resume"
    )


def test_other_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "2.jsonl").write_text(row("a") + "\n", encoding="utf-8")
    assert message(tmp_path, part(tmp_path, 1, 2, listed=0), tmp_path / "2.jsonl") == (
        "expected a part that ctonnx predict --shard wrote, found another file in '2.jsonl'; leave it out"
    )


def test_parts_of_two_splits_are_named(tmp_path: Path) -> None:
    assert message(tmp_path, part(tmp_path, 1, 2, listed=0), part(tmp_path, 2, 3, listed=0)) == (
        "expected parts of one split, found 1/2 in '1.jsonl' and 2/3 in '2.jsonl'; merge each split alone"
    )


@pytest.mark.parametrize(
    ("name", "value"), [("model_sha256", "n"), ("provider", "cuda"), ("top_k", 2), ("version", "2"), ("by", "folder")]
)
def test_parts_that_were_made_differently_are_named(tmp_path: Path, name: str, value: str | int) -> None:
    other = replace(HEAD, **{name: value})  # type: ignore[arg-type]
    assert message(tmp_path, part(tmp_path, 1, 2, listed=0), part(tmp_path, 2, 2, listed=0, head=other)) == (
        f"expected parts with one {name}, found {getattr(HEAD, name)} in '1.jsonl' and {value} in '2.jsonl'; make one "
        "of them again"
    )


def test_parts_of_lists_with_other_files_are_named(tmp_path: Path) -> None:
    one, two = part(tmp_path, 1, 2, row("a"), listed=2), part(tmp_path, 2, 2, row("b"), listed=3)
    assert message(tmp_path, one, two) == (
        "expected parts of one list of files, found 2 in '1.jsonl' and 3 in '2.jsonl' (files were added or removed, or "
        "PATH is another); run all shards again with --resume"
    )
    two.write_bytes(two.read_bytes().replace(b'"listed": 3, "listing": "digest"', b'"listed": 2, "listing": "other"'))
    assert message(tmp_path, one, two).startswith("expected parts of one list of files, found others in '2.jsonl' (")


def test_row_that_is_there_twice_is_named(tmp_path: Path) -> None:
    one, two = part(tmp_path, 1, 2, row("a"), row("b"), listed=4), part(tmp_path, 2, 2, row("b"), row("c"), listed=4)
    assert message(tmp_path, one, two) == (
        "expected each row once, found that of 'b' in '1.jsonl' and in '2.jsonl'; make these parts again"
    )
    three = part(tmp_path, 1, 1, row("b"), row("b"), listed=2, name="3")
    assert message(tmp_path, three) == (
        "expected each row once, found that of 'b' twice in '3.jsonl'; make these parts again"
    )


def test_row_of_another_model_is_named(tmp_path: Path) -> None:
    found = message(tmp_path, part(tmp_path, 1, 1, row("a", model_sha256="n"), listed=1))
    assert found == (
        f"expected rows of one model in '1.jsonl', found {'m' * 64} in its first line and n in the row of 'a'; make it "
        "again"
    )


def test_row_that_was_removed_is_noticed(tmp_path: Path) -> None:
    one = part(tmp_path, 1, 1, row("a"), row("b"), listed=2)
    one.write_bytes(one.read_bytes().replace(row("b").encode() + b"\n", b""))
    assert message(tmp_path, one) == "expected 2 rows in '1.jsonl', by its first line, found 1; make it again"


def test_files_that_are_in_no_part_are_noticed(tmp_path: Path) -> None:
    assert message(tmp_path, part(tmp_path, 1, 1, row("a"), listed=2)) == (
        "expected parts with 2 files in all, found 1; make them again with one version"
    )
