"""`ctonnx predict --output` and `--sort`: a complete file or none, in the order that was asked for."""

import csv
import io
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.cli.commands.predicting import FILES, GOOD, assert_rejected, predict

from ctonnx.prediction.predictor import Predictor

pytestmark = pytest.mark.usefixtures("clock")

# --- a file of rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"), [("rows.csv", ("--format", "csv")), ("rows.JSONL", ("--format", "jsonl")), ("rows.csv", ())]
)
def test_file_has_the_rows_of_stdout(name: str, options: tuple[str, ...], model: Path, scans: Path) -> None:
    shown = predict("scans", "-m", model, "--format", name.rpartition(".")[2].lower())
    result = predict("scans", "-m", model, "--output", name, *options)
    assert (result.stdout, result.exit_code) == ("", 1)
    assert Path(name).read_text(encoding="utf-8") == shown.stdout
    assert result.stderr.splitlines()[-1] == f"written: {name}"
    assert sorted(os.listdir()) == sorted([name, "scans"])


def test_file_with_another_ending_is_written_in_the_named_format(model: Path, scans: Path) -> None:
    predict("scans", "-m", model, "--output", "rows.txt", "--format", "csv")
    assert len(Path("rows.txt").read_text(encoding="utf-8").splitlines()) == 5


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--output", "rows.txt"), "'rows.txt'"),
        (("--output", "rows.csv", "--format", "jsonl"), "'rows.csv' with --format jsonl"),
        (("--output", "rows.csv", "--format", "table"), "'rows.csv' with --format table"),
    ],
)
def test_file_whose_format_is_not_clear_is_rejected(
    words: tuple[str, ...], found: str, model: Path, scans: Path
) -> None:
    result = predict("scans", "-m", model, *words)
    assert_rejected(result, f"expected --output to end in .csv or .jsonl, as its --format, found {found}")
    assert os.listdir() == ["scans"]


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_run_that_is_stopped_leaves_the_file_as_it_was(
    number: signal.Signals, exit_code: int, model: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(self: Predictor, *arguments: Any, **options: Any) -> Iterator[Any]:
        yield self.predict(GOOD[0])
        signal.raise_signal(number)

    Path("rows.csv").write_text("yesterday's\n", encoding="utf-8")
    monkeypatch.setattr(Predictor, "predict_many", breaking)
    result = predict("scans", "-m", model, "--output", "rows.csv", "--heatmaps", "maps")
    assert (result.exit_code, signal.getsignal(signal.SIGTERM)) == (exit_code, signal.SIG_DFL)
    assert Path("rows.csv").read_text(encoding="utf-8") == "yesterday's\n"
    assert sorted(set(os.listdir()) - {"maps"}) == ["rows.csv", "scans"]
    assert not list(Path().rglob("*.part"))


def test_temporary_files_of_a_killed_run_are_removed_and_reported(
    model: Path, scans: Path, leave_behind: Callable[[Path], Path]
) -> None:
    Path("maps/a").mkdir(parents=True)
    rows, picture = leave_behind(Path("rows.csv")), leave_behind(Path("maps/a/one.heatmap.png"))
    result = predict("scans", "-m", model, "--output", "rows.csv", "--heatmaps", "maps")
    for file, folder in ((rows, Path.cwd()), (picture, Path("maps/a"))):
        line = f"removed 1 temporary file or folder of a killed process from '{folder}': '{file.name}'\n"
        assert line in result.stderr
        assert not file.exists()


def test_folder_of_the_file_is_made_as_that_of_the_heatmaps_is(model: Path, scans: Path) -> None:
    words = ("--output", "board/today/x.csv", "--heatmaps", "board/today")
    result = predict(*GOOD, "-m", model, *words)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (0, "written: board/today/x.csv")
    rows = list(csv.DictReader(io.StringIO(Path("board/today/x.csv").read_text(encoding="utf-8"))))
    assert [row["heatmap"] for row in rows] == [
        str(Path("board/today") / name)
        for name in ("a.png.heatmap.png", "c.png.heatmap.png", "inner/d.png.heatmap.png")
    ]
    assert all(Path(row["heatmap"]).is_file() for row in rows)


@pytest.mark.parametrize("there", [True, False])
def test_run_that_fails_leaves_no_folder_that_it_made(
    there: bool, model: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(self: Predictor, *arguments: Any, **options: Any) -> Iterator[Any]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(Predictor, "predict_many", breaking)
    if there:
        Path("board").mkdir()
    result = predict("scans", "-m", model, "--output", "board/today/x.csv", "--heatmaps", "board/maps/today")
    assert result.exit_code == 130
    assert sorted(os.listdir()) == (["board", "scans"] if there else ["scans"])
    assert not there or os.listdir("board") == []


def test_model_that_is_not_there_is_reported_before_a_folder_is_made(scans: Path) -> None:
    assert predict("scans", "-m", "no.onnx", "--output", "board/x.csv", "--heatmaps", "maps").exit_code == 2
    assert os.listdir() == ["scans"]


def test_file_with_the_name_of_the_folder_is_an_error(model: Path, scans: Path) -> None:
    Path("board").write_text("mine", encoding="utf-8")
    result = predict("scans", "-m", model, "--output", "board/x.csv")
    assert_rejected(result, "File exists: 'board'")
    assert Path("board").read_text(encoding="utf-8") == "mine"


def test_link_for_rows_stays_and_its_file_is_replaced(model: Path, scans: Path) -> None:
    Path("disk").mkdir()
    Path("disk/rows.csv").write_text("yesterday's\n", encoding="utf-8")
    Path("rows.csv").symlink_to("disk/rows.csv")
    predict("scans", "-m", model, "--output", "rows.csv")
    assert Path("rows.csv").is_symlink()
    assert Path("disk/rows.csv").read_text(encoding="utf-8") == predict("scans", "-m", model, "--format", "csv").stdout


@pytest.mark.skipif(os.name != "posix", reason="this system has no such files")
def test_pipe_for_rows_is_rejected(model: Path, scans: Path) -> None:
    os.mkfifo("rows.csv")
    result = predict("scans", "-m", model, "--output", "rows.csv")
    assert_rejected(result, "expected a file or nothing to write to, found a device, a pipe or a socket: 'rows.csv'")
    assert sorted(os.listdir()) == ["rows.csv", "scans"]


# --- where rows come from --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_rows_include_the_models_hash_the_threshold_and_the_time(
    kind: str, model: Path, scans: Path, clock: str, point_at: Any
) -> None:
    for threshold in (0.25, None):
        point_at(threshold)
        printed = predict("scans", "-m", model, "--format", kind).stdout
        rows = list(csv.DictReader(io.StringIO(printed)) if kind == "csv" else map(json.loads, printed.splitlines()))
        empty = "" if kind == "csv" else None
        expected = empty if threshold is None else str(threshold) if kind == "csv" else threshold
        digest = sha256(model.read_bytes()).hexdigest()
        assert [(row["model_sha256"], row["threshold"], row["time"]) for row in rows] == [(digest, expected, clock)] * 4


# --- sorted ----------------------------------------------------------------------------------------------------------


def rows_of(*words: str | Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(predict(*words, "--format", "csv").stdout)))


def test_rows_are_sorted_by_their_score_and_failures_come_last(model: Path, scans: Path, point_at: Any) -> None:
    point_at(0.25)
    plain = rows_of("scans", "-m", model)
    found = rows_of("scans", "-m", model, "--sort", "score")
    assert [row["file"] for row in plain] == FILES
    assert [row["file"] for row in found][-1] == "scans/b.png"
    scores = [float(row["score"]) for row in found[:-1]]
    assert scores == sorted(scores, reverse=True)
    assert sorted(map(str, found)) == sorted(map(str, plain))
    by_probability = [float(row["probability"]) for row in rows_of("scans", "-m", model, "--sort", "probability")[:-1]]
    assert by_probability == sorted(by_probability, reverse=True)


@pytest.mark.parametrize("kind", ["table", "jsonl", "csv"])
def test_every_format_and_the_file_are_sorted_alike(kind: str, model: Path, scans: Path, point_at: Any) -> None:
    point_at(0.25)
    order = [row["file"] for row in rows_of("scans", "-m", model, "--sort", "score")]
    printed = predict("scans", "-m", model, "--sort", "score", "--format", kind).stdout
    assert re.findall(r"scans/[a-z/]+\.png", printed) == order
    if kind != "table":
        predict("scans", "-m", model, "--sort", "score", "-o", f"rows.{kind}")
        assert Path(f"rows.{kind}").read_text(encoding="utf-8") == printed


def test_stopped_run_prints_no_sorted_row(model: Path, scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(self: Predictor, *arguments: Any, **options: Any) -> Iterator[Any]:
        yield self.predict(GOOD[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "predict_many", breaking)
    result = predict("scans", "-m", model, "--sort", "score")
    assert (result.exit_code, len(result.stdout.splitlines())) == (130, 1)


def test_sorting_by_a_missing_score_is_rejected(model: Path, scans: Path, point_at: Any) -> None:
    point_at(None)
    assert_rejected(
        predict("scans", "-m", model, "--sort", "score"),
        f"expected a model with an operating point for --sort score, found none in '{model}'; train it on images of "
        "suspicious and other classes",
    )
    assert predict("scans", "-m", model, "--sort", "probability").exit_code == 1
