"""`ctonnx predict --shard`, `--resume` and `--merge`: the rows of the whole run, and options that contradict them."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.runtime.cli.commands.predicting import FILES, assert_rejected, predict
from tests.runtime.images.dicom.dicom_files import encoded, make

TIME = ("--time", "2026-12-01T08:00:00Z")


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Works in a folder with archive/: images in folders, a damaged one, a missing suffix, and a file with frames."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(1).integers(0, 256, (20, 64, 72)).astype(np.uint8)
    for number, pixels in enumerate(noise):
        file = Path(f"archive/{number % 4}/scan {number}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    Path("archive/damaged.png").write_bytes(b"")
    Path("archive/grö\u00dfe").write_bytes(Path("archive/0/scan 0.png").read_bytes())
    Path("archive/frames.dcm").write_bytes(encoded(make(noise[:5].astype("<u2"))))
    return Path("archive")


def rows_of(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def last(result: Any, count: int = 1) -> list[str]:
    return [re.sub(r"; \d+\.\d images/s", "", line) for line in result.stderr.splitlines()[-count:]]


@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("by", [(), ("--by", "folder")])
def test_merged_parts_are_the_whole_run_byte_for_byte(
    model: Path, archive: Path, count: int, by: tuple[str, ...]
) -> None:
    predict("archive", "-m", model, "--top-k", "2", *TIME, *by, "-o", "whole.jsonl")
    for number in range(1, count + 1):
        options = ("--shard", f"{number}/{count}", "-o", f"parts/{number}.jsonl", "--batch-size", str(number))
        done = predict("archive", "-m", model, "--top-k", "2", *TIME, *by, *options)
        assert done.stdout == ""
        assert done.stderr.splitlines()[-1] == f"complete: part {number}/{count}"
    merged = predict("--merge", "parts/*.jsonl", "-o", "all.jsonl")
    assert merged.exit_code == 0, merged.stderr
    assert sorted(rows_of("all.jsonl")) == sorted(rows_of("whole.jsonl"))
    number = len(rows_of("whole.jsonl"))
    assert number == (5 if by else 27)
    parts = "1 part" if count == 1 else f"{count} parts"
    assert last(merged, 2) == [f"merged: {parts}, {number} rows, 1 with an error", "written: all.jsonl"]


def test_part_that_is_continued_is_the_one_of_a_run_without_a_stop(model: Path, archive: Path) -> None:
    words = ("archive", "-m", model, *TIME, "--shard", "1/2")
    predict(*words, "-o", "a.jsonl")
    first, *rows = rows_of("a.jsonl")
    for kept in (0, 1, len(rows) - 1):
        stopped = [json.dumps({**json.loads(first), "rows": None}), *rows[:kept], rows[-1][:20]]
        Path("b.jsonl").write_text("\n".join(stopped), encoding="utf-8")
        result = predict(*words, "-o", "b.jsonl", "--resume")
        assert f"shard: 1/2, {json.loads(first)['files']} of 23 files" in result.stderr
        assert rows_of("b.jsonl") == [first, *rows]


def test_run_without_shards_is_continued(model: Path, archive: Path) -> None:
    predict("archive", "-m", model, *TIME, "-o", "whole.jsonl")
    rows = rows_of("whole.jsonl")
    Path("rows.jsonl").write_text("\n".join(rows[:9]) + "\n", encoding="utf-8")
    result = predict("archive", "-m", model, *TIME, "-o", "rows.jsonl", "--resume")
    assert result.exit_code == 1  # the damaged file
    assert rows_of("rows.jsonl") == rows
    assert "continued: 'rows.jsonl' has " in result.stderr


def test_failure_is_tried_again_and_ends_with_exit_code_0_once_it_is_read(model: Path, archive: Path) -> None:
    words = ("archive", "-m", model, "--shard", "1/1", "-o", "a.jsonl", "--resume")
    assert predict(*words).exit_code == 1
    assert "tried again: 1 file that could not be read" in predict(*words).stderr
    Path("archive/damaged.png").write_bytes(Path("archive/0/scan 0.png").read_bytes())
    assert predict(*words).exit_code == 0
    again = predict(*words)
    assert (again.exit_code, last(again, 2)) == (0, ["written: a.jsonl", "complete: part 1/1"])
    assert all(json.loads(row)["error"] is None for row in rows_of("a.jsonl")[1:])


def test_shard_of_names_on_stdin(model: Path, scans: Path) -> None:
    names = "\n".join(FILES).encode()
    for number in (1, 2):
        predict("-", "-m", model, *TIME, "--shard", f"{number}/2", "-o", f"{number}.jsonl", stdin=names)
    predict("-", "-m", model, *TIME, "-o", "whole.jsonl", stdin=names)
    merged = predict("--merge", "1.jsonl", "2.jsonl")
    assert sorted(merged.stdout.splitlines()) == sorted(rows_of("whole.jsonl"))


def test_another_model_is_not_mixed_in(model: Path, scans: Path) -> None:
    import onnx

    other = onnx.load(model)
    other.doc_string = "another file"
    onnx.save(other, "other.onnx")
    predict("scans", "-m", model, "--shard", "1/1", "-o", "a.jsonl")
    before = rows_of("a.jsonl")
    result = predict("scans", "-m", "other.onnx", "--no-check", "--shard", "1/1", "-o", "a.jsonl", "--resume")
    assert result.exit_code == 2
    assert "expected rows of the same model and settings in 'a.jsonl' (model_sha256 " in result.stderr
    assert rows_of("a.jsonl") == before


def test_missing_part_is_named_and_nothing_written(model: Path, scans: Path) -> None:
    for number in (1, 3):
        predict("scans", "-m", model, "--shard", f"{number}/3", "-o", f"parts/{number}.jsonl")
    result = predict("--merge", "parts", "-o", "all.jsonl")
    assert_rejected(result, "expected all parts from 1/3 to 3/3, found 2; missing: 2/3")
    assert sorted(os.listdir()) == ["parts", "scans"]


def test_output_among_the_parts_is_left_out(model: Path, scans: Path) -> None:
    predict("scans", "-m", model, "--shard", "1/1", "-o", "parts/1.jsonl")
    for _ in range(2):
        assert predict("--merge", "parts/*.jsonl", "-o", "parts/all.jsonl").exit_code == 0


def test_time_in_the_rows_is_the_named_one(model: Path, scans: Path) -> None:
    result = predict("scans", "-m", model, "--format", "jsonl", "--time", "2026-12-01T09:30:00+01:30")
    assert {json.loads(row)["time"] for row in result.stdout.splitlines()} == {"2026-12-01T08:00:00+00:00"}


# --- what is rejected ------------------------------------------------------------------------------------------------


def test_file_of_an_earlier_run_is_not_replaced(model: Path, scans: Path) -> None:
    words = ("scans", "-m", model, "--shard", "1/1", "-o", "a.jsonl")
    predict(*words)
    assert_rejected(
        predict(*words),
        "expected no file at 'a.jsonl', found one; add --resume to continue it, delete it, or name another",
    )


@pytest.mark.parametrize("option", ["--shard", "--resume"])
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), "expected --output with a .jsonl file for OPTION, found none"),
        (("-o", "a.csv"), "expected --output with a .jsonl file for OPTION, found 'a.csv'"),
        (
            ("-o", "a.jsonl", "--sort", "score"),
            "expected OPTION without --sort, found both; use it on the rows of the whole run",
        ),
        (
            ("-o", "a.jsonl", "--suspicious-only"),
            "expected OPTION without --suspicious-only, found both; use it on the rows of the whole run",
        ),
        (("-o", "a.jsonl", "--heatmaps", "maps"), "expected OPTION without --heatmaps, found both"),
        (
            ("-o", "a.jsonl", "--by", "patient"),
            "expected OPTION without --by or with --by folder, found --by patient: the slices of one patient may be in "
            "several shards, and its pseudonym is new in each run; use --by folder, or one run for each patient",
        ),
    ],
)
def test_options_of_whole_runs_are_rejected(
    option: str, words: tuple[str, ...], found: str, model: Path, scans: Path
) -> None:
    asked = (option, "1/2") if option == "--shard" else (option,)
    assert_rejected(predict("scans", "-m", model, *asked, *words), found.replace("OPTION", option))
    assert os.listdir() == ["scans"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--top-k", "2"), "expected --merge with PATH and --output alone, found --top-k too"),
        (("-m", "a"), "expected --merge with PATH and --output alone, found --model too"),
        (("--resume",), "expected --merge with PATH and --output alone, found --resume too"),
        (("-o", "a.csv"), "expected a .jsonl file for --output with --merge, as its parts are JSON lines"),
        (("--format", "csv"), "expected a .jsonl file for --output with --merge, as its parts are JSON lines"),
        (("*.jsonl",), "expected the parts of a split as PATH of --merge, found none"),
    ],
)
def test_options_that_merging_does_not_have_are_rejected(words: tuple[str, ...], found: str, scans: Path) -> None:
    assert_rejected(predict("--merge", *words), found)


def test_merge_without_parts_is_rejected(scans: Path) -> None:
    assert_rejected(predict("--merge"), "expected the parts of a split as PATH of --merge, found none")


@pytest.mark.parametrize("text", ["0/2", "3/2", "half"])
def test_wrong_shard_is_rejected(text: str, scans: Path) -> None:
    assert_rejected(
        predict("scans", "--shard", text),
        "Invalid value for '--shard': expected a number of a shard, from 1, and the number of shards, as in 3/16, "
        f"found '{text}'.",
    )


@pytest.mark.parametrize("text", ["yesterday", "2026-12-01T08:00:00"])
def test_time_without_a_zone_is_rejected(text: str, scans: Path) -> None:
    assert_rejected(
        predict("scans", "--time", text),
        f"Invalid value for '--time': expected ISO 8601 with a time zone, as in 2026-12-01T08:00:00Z, found '{text}'.",
    )
