"""The file of a part: rows that stay, files that are left, and parts of other runs that are rejected."""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runtime.prediction.output.parts.made_rows import FILES, HEAD, SPLIT, row, split_of, stopped_after, write_part

from ctonnx.errors import CtonnxError
from ctonnx.prediction.output.parts.part_file import Head, open_part, read_head, read_rows, row_of
from ctonnx.prediction.output.parts.split import Split
from ctonnx.system.temporary_files import temporary_name

WHOLE = replace(HEAD, shard=None)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def continued(path: Path, *, head: Head = HEAD, split: Split = SPLIT) -> list[str]:
    """Completes a part, and returns the files that were left."""
    with open_part(path, head, split, resume=True) as part:
        for file in part.todo:
            part.add(row(file))
    return part.todo


def test_complete_part_has_its_facts_in_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "parts/1.jsonl"
    assert continued(path) == list(FILES)
    first, *rows = lines(path)
    assert json.loads(first) == {
        "ctonnx_part": 1,
        "shard": "1/2",
        "by": None,
        "model_sha256": "m" * 64,
        "provider": "cpu",
        "top_k": 1,
        "version": "1.0",
        "files": 4,
        "listed": 9,
        "listing": "digest",
        "rows": 4,
    }
    assert rows == [row(file) for file in FILES]
    assert os.listdir(tmp_path / "parts") == ["1.jsonl"]


def test_row_is_on_the_disk_before_the_next(tmp_path: Path) -> None:
    with open_part(tmp_path / "1.jsonl", HEAD, SPLIT, resume=False) as part:
        for number, file in enumerate(FILES, start=1):
            part.add(row(file))
            assert lines(tmp_path / "1.jsonl")[1:] == [row(one) for one in FILES[:number]]
        head = read_head(tmp_path / "1.jsonl")
        assert head is not None
        assert head.rows is None  # not complete


def test_files_with_rows_are_left_out_and_the_order_is_that_of_the_files(tmp_path: Path) -> None:
    path = stopped_after(tmp_path / "1.jsonl", row("b"), row("a"))
    logged: list[str] = []
    with open_part(path, HEAD, SPLIT, resume=True, log=logged.append) as part:
        assert part.todo == ["c", "d"]
        part.add(row("d"))
        part.add(row("c"))
    assert logged == [f"continued: '{path}' has 2 rows to keep; 2 files of 4 left"]
    assert lines(path)[1:] == [row(file) for file in FILES]
    assert continued(tmp_path / "other.jsonl") == list(FILES)
    assert path.read_bytes() == (tmp_path / "other.jsonl").read_bytes()


def test_run_that_is_stopped_shows_how_to_go_on(tmp_path: Path) -> None:
    logged: list[str] = []
    path = tmp_path / "1.jsonl"
    stopped_after(path, row("b"), split=SPLIT, log=logged.append)
    assert logged == [f"not complete: the rows so far are in '{path}'; continue with --resume"]


def test_run_that_is_stopped_before_its_first_row_leaves_nothing(tmp_path: Path) -> None:
    stopped_after(tmp_path / "new/1.jsonl", split=SPLIT)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("cut", [1, 2, 20, len(row("a"))])
def test_half_row_at_the_end_is_dropped(tmp_path: Path, cut: int) -> None:
    path = stopped_after(tmp_path / "1.jsonl", row("b"), row("a"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - cut])
    assert continued(path) == ["a", "c", "d"]
    assert lines(path)[1:] == [row(file) for file in FILES]


def test_half_first_line_is_a_new_start(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_bytes(replace(HEAD, rows=None).line()[:20])
    assert continued(tmp_path / "1.jsonl") == list(FILES)


def test_damaged_row_is_named(tmp_path: Path) -> None:
    path = stopped_after(tmp_path / "1.jsonl", row("b"), row("a"))
    path.write_bytes(path.read_bytes().replace(row("b").encode(), b'{"file": "b"'))
    with pytest.raises(CtonnxError) as caught:
        continued(path)
    assert str(caught.value) == (
        f"expected rows of ctonnx predict as JSON lines in '{path}', found '{{\"file\": \"b\"' in line 2; "
        "name another file"
    )


def test_failures_are_tried_again(tmp_path: Path) -> None:
    path = stopped_after(tmp_path / "1.jsonl", row("b", error="cannot be read: no such file"), row("a"))
    assert continued(path) == ["b", "c", "d"]
    assert lines(path)[1:] == [row(file) for file in FILES]


def test_failures_of_a_complete_part_are_tried_again(tmp_path: Path) -> None:
    path, logged = tmp_path / "1.jsonl", list[str]()
    write_part(path, HEAD, row("b"), listed=1)
    with open_part(path, HEAD, SPLIT, resume=True) as part:
        assert part.todo == ["a", "c", "d"]
        for file in part.todo:
            part.add(row(file, error="damaged"))
    with open_part(path, HEAD, SPLIT, resume=True, log=logged.append) as part:
        assert part.todo == ["a", "c", "d"]
        head = read_head(path)
        assert head is not None
        assert head.rows is None  # if it is killed now, it is not a complete part
        for file in part.todo:
            part.add(row(file))
    assert logged[0] == "tried again: 3 files that could not be read"
    assert continued(path) == []


def test_complete_part_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    continued(path)
    before = path.stat()
    assert continued(path) == []
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_new_file_is_added_to_a_complete_part(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    continued(path)
    assert continued(path, split=split_of("new", *FILES, listed=10)) == ["new"]
    assert lines(path)[1:] == [row(file) for file in ("new", *FILES)]
    head = read_head(path)
    assert head is not None
    assert (head.files, head.listed, head.rows) == (5, 10, 5)


def test_changed_list_without_a_file_of_this_shard_is_noted(tmp_path: Path) -> None:
    """Else its part would not fit to those of the other shards."""
    path = tmp_path / "1.jsonl"
    continued(path)
    assert continued(path, split=split_of(*FILES, listed=10)) == []
    head = read_head(path)
    assert head is not None
    assert (head.listed, head.rows) == (10, 4)


def test_rows_of_a_file_that_is_gone_stay(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    continued(path)
    assert continued(path, split=split_of("b", "c", "d", listed=8)) == []
    assert lines(path)[1:] == [row(file) for file in ("b", "c", "d", "a")]


def test_shard_without_files_is_complete(tmp_path: Path) -> None:
    empty = split_of(listed=3)
    for _ in range(2):
        assert continued(tmp_path / "1.jsonl", split=empty) == []
        assert len(lines(tmp_path / "1.jsonl")) == 1
    head = read_head(tmp_path / "1.jsonl")
    assert head is not None
    assert (head.files, head.rows) == (0, 0)


# --- frames and groups -----------------------------------------------------------------------------------------------


def test_last_file_with_frames_is_predicted_again_as_some_may_be_missing(tmp_path: Path) -> None:
    frames = [row(file, frame=frame) for file in ("b", "a") for frame in range(3)]
    path = stopped_after(tmp_path / "1.jsonl", *frames[:5])
    with open_part(path, HEAD, SPLIT, resume=True) as part:
        assert part.todo == ["a", "c", "d"]
        for one in (*frames[3:], row("c"), row("d")):
            part.add(one)
    assert lines(path)[1:] == [*frames, row("c"), row("d")]
    assert continued(path) == []


def test_file_with_a_frame_that_failed_is_predicted_again_as_a_whole(tmp_path: Path) -> None:
    path = stopped_after(tmp_path / "1.jsonl", row("b", frame=0), row("b", frame=1, error="damaged"), row("a"))
    assert continued(path) == ["b", "c", "d"]


def test_name_that_ends_as_that_of_a_frame_is_a_file(tmp_path: Path) -> None:
    split = split_of("b", "b#1", listed=2)
    path = stopped_after(tmp_path / "1.jsonl", row("b#1"), split=split)
    assert continued(path, split=split) == ["b"]


def test_folders_are_continued_as_a_whole(tmp_path: Path) -> None:
    head, split = replace(HEAD, by="folder"), split_of("x/1", "x/2", "y/1", "z/1")
    rows = [row("", group=name, by="folder") for name in ("x", "y", "z")]
    rows[1] = row("", group="y", failed=1, by="folder")  # one of its slices could not be read
    path = stopped_after(tmp_path / "1.jsonl", *rows[:2], head=head, split=split)
    with open_part(path, head, split, resume=True) as part:
        assert part.todo == ["y/1", "z/1"]
        part.add(row("", group="z", by="folder"))
        part.add(row("", group="y", by="folder"))
    assert [json.loads(line)["group"] for line in lines(path)[1:]] == ["x", "y", "z"]


# --- runs without a split --------------------------------------------------------------------------------------------


def test_run_without_a_split_has_only_rows_at_the_end(tmp_path: Path) -> None:
    path = stopped_after(tmp_path / "1.jsonl", row("b"), head=WHOLE)
    assert read_head(path) is not None
    assert continued(path, head=WHOLE) == ["a", "c", "d"]
    assert lines(path) == [row(file) for file in FILES]
    before = path.stat().st_ino
    assert continued(path, head=WHOLE) == []
    assert path.stat().st_ino == before


def test_rows_that_stdout_was_redirected_to_are_continued(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_text(f"{row('b')}\n{row('a', error='damaged')}\n{row('c')[:9]}", encoding="utf-8")
    assert continued(tmp_path / "1.jsonl", head=WHOLE) == ["a", "c", "d"]


# --- what is rejected ------------------------------------------------------------------------------------------------


def message(path: Path, head: Head = HEAD, split: Split = SPLIT, *, resume: bool = True) -> str:
    before = path.read_bytes()
    with pytest.raises(CtonnxError) as caught, open_part(path, head, split, resume=resume):
        pytest.fail("it was opened")
    assert path.read_bytes() == before
    return str(caught.value).replace(str(path), "PATH")


def test_file_is_not_replaced_without_resume(tmp_path: Path) -> None:
    assert message(stopped_after(tmp_path / "1.jsonl", row("b")), resume=False) == (
        "expected no file at 'PATH', found one; add --resume to continue it, delete it, or name another"
    )


@pytest.mark.parametrize(
    ("change", "here", "there"),
    [
        ({"shard": "2/2"}, "shard 2/2", "shard 1/2"),
        ({"shard": None}, "shard none", "shard 1/2"),
        ({"top_k": 3}, "top_k 3", "top_k 1"),
        ({"by": "folder"}, "by folder", "by none"),
        ({"provider": "cuda"}, "provider cuda", "provider cpu"),
        ({"version": "1.1"}, "version 1.1", "version 1.0"),
        ({"model_sha256": "n"}, "model_sha256 n", f"model_sha256 {'m' * 64}"),
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_part_of_another_run_is_rejected(
    tmp_path: Path, change: dict[str, str | int], here: str, there: str, complete: bool
) -> None:
    path = stopped_after(tmp_path / "1.jsonl", row("b"))
    if complete:
        continued(path)
    assert message(path, replace(HEAD, **change)) == (  # type: ignore[arg-type]
        f"expected rows of the same model and settings in 'PATH' ({here}), found {there}; use those, or name another "
        "--output"
    )


def test_rows_alone_show_their_model_and_settings_too(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    path.write_text(f"{row('b')}\n{row('a', model_sha256='n')}\n", encoding="utf-8")
    assert "(model_sha256 mmm" in message(path, WHOLE)
    assert message(path, HEAD) == (
        "expected the part 1/2 in 'PATH', found rows of a run without --shard; name another --output"
    )
    path.write_text(f"{row('b')}\n{row('a', probabilities={'x': 0.5, 'y': 0.5})}\n", encoding="utf-8")
    assert "(top_k 1), found top_k 2;" in message(path, WHOLE)


def test_rows_of_other_files_are_rejected(tmp_path: Path) -> None:
    path = stopped_after(tmp_path / "1.jsonl", row("b"), row("a"))
    assert message(path, split=split_of("./b", "./a", "./c")) == (
        "expected rows of the same files in 'PATH', found those of others, such as 'b'; name PATH as it was named "
        "then, or another --output"
    )


def test_part_of_another_format_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_bytes(HEAD.line().replace(b'"ctonnx_part": 1', b'"ctonnx_part": 2'))
    assert message(tmp_path / "1.jsonl") == (
        "expected a part that this version of ctonnx wrote, found one of another in 'PATH'; make it again"
    )


@pytest.mark.parametrize("content", ["file,label\na.png,normal\n", "[1, 2]\n", '{"a": 1}\n', "\x00\xff\n"])
def test_other_file_is_rejected(tmp_path: Path, content: str) -> None:
    (tmp_path / "1.jsonl").write_text(content, encoding="latin-1")
    assert re.fullmatch(
        "expected rows of ctonnx predict as JSON lines in 'PATH', found '.*' in line 1; name another file",
        message(tmp_path / "1.jsonl"),
    )


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
@pytest.mark.parametrize("rows", [[], ["b"]])
def test_second_process_is_rejected(tmp_path: Path, rows: list[str]) -> None:
    path = tmp_path / "1.jsonl"
    with open_part(path, HEAD, SPLIT, resume=True) as part:
        for one in rows:
            part.add(row(one))
        assert message(path) == (
            "expected that no other process writes 'PATH', found one; wait for it, or name another --output"
        )
    assert continued(path) == [file for file in FILES if file not in rows]


def test_temporary_files_of_killed_runs_are_removed(tmp_path: Path) -> None:
    with temporary_name(tmp_path / "1.jsonl") as temporary:
        pass
    for file in (temporary, temporary.with_suffix(".lock")):
        file.touch()
    continued(tmp_path / "1.jsonl")
    assert os.listdir(tmp_path) == ["1.jsonl"]


def test_link_stays_and_its_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "1.jsonl")
    continued(tmp_path / "link.jsonl")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len(lines(tmp_path / "1.jsonl")) == 5


def test_name_that_is_not_utf8_is_found_again(tmp_path: Path) -> None:
    split = split_of("x\udcff.png", "a\u2028\n.png")
    path = tmp_path / "1.jsonl"
    assert continued(path, split=split) == split.files
    assert continued(path, split=split) == []


def test_rows_have_offsets(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    continued(path)
    content = path.read_bytes()
    for found, line in read_rows(path):
        assert content[found.start : found.start + found.size] == line
        assert row_of(line, found.start) == found
