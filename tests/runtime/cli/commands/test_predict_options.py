"""`ctonnx predict`'s ways in and out: files of rows, heatmaps, suspicious images alone, names on stdin, progress."""

import csv
import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from ctonnx.artifacts.operating_point import OperatingPoint
from ctonnx.cli.main import main
from ctonnx.images import load_frames
from ctonnx.prediction.predictor import Predictor


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Works in a folder with scans/: three good images and an empty file."""
    folder = tmp_path / "scans"
    (folder / "inner").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (3, 80, 100)).astype(np.uint8)
    for name, pixels in zip(("a.png", "c.png", "inner/d.png"), noise, strict=True):
        Image.fromarray(pixels).save(folder / name)
    (folder / "b.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return folder


GOOD = ["scans/a.png", "scans/c.png", "scans/inner/d.png"]
FILES = sorted([*GOOD, "scans/b.png"])
ALONE = "expected - as the only PATH, for names on stdin, found other paths"


def predict(*words: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, words)], input=stdin)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> str:
    """Stops the clock that rows are stamped by, so that two runs may be compared."""

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Stopped":
            return cls(2026, 11, 30, 1, 2, 3, tzinfo=tz)

    monkeypatch.setattr("ctonnx.prediction.output.provenance.datetime", Stopped)
    return "2026-11-30T01:02:03+00:00"


def assert_refused(result: Result, sentence: str) -> None:
    assert (result.stdout, result.exit_code) == ("", 2)
    assert result.stderr.splitlines()[-1] == f"Error: {sentence}"


@pytest.fixture
def point_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets predictors call images suspicious from a chosen probability of `normal` on."""
    original = Predictor.__init__

    def set_to(threshold: float | None) -> None:
        def opened(self: Predictor, *arguments: Any, **options: Any) -> None:
            original(self, *arguments, **options)
            point = None
            if threshold is not None:
                point = OperatingPoint(positive=("normal",), threshold=threshold, sensitivity=1.0, specificity=1.0)
            self.spec = replace(self.spec, operating_point=point)

        monkeypatch.setattr(Predictor, "__init__", opened)

    return set_to


# --- a file of rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"), [("rows.csv", ("--format", "csv")), ("rows.JSONL", ("--format", "jsonl")), ("rows.csv", ())]
)
def test_file_holds_the_rows_that_stdout_would_have(
    name: str, options: tuple[str, ...], model: Path, scans: Path
) -> None:
    shown = predict("scans", "-m", model, "--format", name.rpartition(".")[2].lower())
    result = predict("scans", "-m", model, "--output", name, *options)
    assert (result.stdout, result.exit_code) == ("", 1)
    assert Path(name).read_text(encoding="utf-8") == shown.stdout
    assert result.stderr.splitlines()[-1] == f"written: {name}"
    assert sorted(os.listdir()) == sorted([name, "scans"])


def test_file_of_another_ending_is_written_in_the_format_that_is_named(model: Path, scans: Path) -> None:
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
def test_file_whose_format_is_not_clear_is_refused(
    words: tuple[str, ...], found: str, model: Path, scans: Path
) -> None:
    result = predict("scans", "-m", model, *words)
    assert_refused(result, f"expected --output to end in .csv or .jsonl, as its --format, found {found}")
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


def test_what_a_killed_run_left_of_rows_and_pictures_is_removed_and_told(
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


def test_model_that_is_not_there_is_told_before_a_folder_is_made(scans: Path) -> None:
    assert predict("scans", "-m", "no.onnx", "--output", "board/x.csv", "--heatmaps", "maps").exit_code == 2
    assert os.listdir() == ["scans"]


def test_file_in_the_place_of_the_folder_is_an_error(model: Path, scans: Path) -> None:
    Path("board").write_text("mine", encoding="utf-8")
    result = predict("scans", "-m", model, "--output", "board/x.csv")
    assert_refused(result, "File exists: 'board'")
    assert Path("board").read_text(encoding="utf-8") == "mine"


def test_link_for_rows_stays_and_its_file_has_todays(model: Path, scans: Path) -> None:
    Path("disk").mkdir()
    Path("disk/rows.csv").write_text("yesterday's\n", encoding="utf-8")
    Path("rows.csv").symlink_to("disk/rows.csv")
    predict("scans", "-m", model, "--output", "rows.csv")
    assert Path("rows.csv").is_symlink()
    assert Path("disk/rows.csv").read_text(encoding="utf-8") == predict("scans", "-m", model, "--format", "csv").stdout


@pytest.mark.skipif(os.name != "posix", reason="this system has no such files")
def test_pipe_for_rows_is_refused(model: Path, scans: Path) -> None:
    os.mkfifo("rows.csv")
    result = predict("scans", "-m", model, "--output", "rows.csv")
    assert_refused(result, "expected a file or nothing to write to, found a device, a pipe or a socket: 'rows.csv'")
    assert sorted(os.listdir()) == ["rows.csv", "scans"]


# --- heatmaps --------------------------------------------------------------------------------------------------------


def test_each_prediction_has_a_heatmap(model: Path, scans: Path) -> None:
    result = predict("scans", "-m", model, "--heatmaps", "maps")
    assert result.exit_code == 1
    drawn = sorted(str(file) for file in Path("maps").rglob("*") if file.is_file())
    assert drawn == ["maps/a.png.heatmap.png", "maps/c.png.heatmap.png", "maps/inner/d.png.heatmap.png"]
    for file in drawn:
        with Image.open(file) as picture:
            assert (picture.format, picture.mode) == ("PNG", "RGB")
            picture.load()


def test_heatmaps_of_an_earlier_run_are_todays_or_gone(model: Path, scans: Path, point_at: Any) -> None:
    predict("scans", "-m", model, "--heatmaps", "maps")
    Path("maps/other.png.heatmap.png").touch()  # of an image that is not looked at
    (scans / "a.png").write_bytes(b"")
    point_at(1.0)  # which nothing reaches
    result = predict("scans", "-m", model, "--heatmaps", "maps", "--suspicious-only")
    assert re.search(r"^4 files: 2 predicted \(0 suspicious\), 2 failed; ", result.stderr, re.MULTILINE)
    assert [file.name for file in Path("maps").rglob("*.png")] == ["other.png.heatmap.png"]


def test_heatmap_that_cannot_be_drawn_is_a_warning_and_all_else_is_written(model: Path, scans: Path) -> None:
    (scans / "b.png").unlink()
    blocked = [Path("maps/a.png.heatmap.png"), Path("maps/inner/d.png.heatmap.png")]
    warnings = [
        f"warning: expected to draw the heatmap of '{file}', failed: Is a directory: '{path}'; its row is written"
        for file, path in zip(("scans/a.png", "scans/inner/d.png"), blocked, strict=True)
    ]
    for count, counted in ((1, "1 without its heatmap"), (2, "2 without their heatmaps")):
        blocked[count - 1].unlink(missing_ok=True)
        blocked[count - 1].mkdir(parents=True)
        result = predict("scans", "-m", model, "--heatmaps", "maps", "--output", "rows.csv")
        assert result.exit_code == 1
        lines = result.stderr.splitlines()
        assert sorted(line for line in lines if line.startswith("warning")) == warnings[:count]
        assert re.search(
            rf"^3 files: 3 predicted \(\d suspicious\), 0 failed, {counted}; ", result.stderr, re.MULTILINE
        )
        assert lines[-1] == "written: rows.csv"
        rows = csv.DictReader(io.StringIO(Path("rows.csv").read_text(encoding="utf-8")))
        assert [(row["file"], row["error"]) for row in rows] == [(file, "") for file in GOOD]
        assert len([file for file in Path("maps").rglob("*.png") if file.is_file()]) == 3 - count


@pytest.mark.skipif(sys.platform == "win32", reason="names there are no bytes")
def test_names_as_long_as_they_can_be_have_heatmaps(model: Path, scans: Path) -> None:
    long = [f"scans/{'x' * 250}{number}.png" for number in range(2)]
    for name in long:
        Path(name).write_bytes(Path(GOOD[0]).read_bytes())
    result = predict(*long, "-m", model, "--heatmaps", "maps", "--output", "rows.csv")
    assert (result.exit_code, len(list(Path("maps").iterdir()))) == (0, 2)


def test_image_that_is_gone_when_it_is_drawn_has_its_heatmap(
    model: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def once(image: Any, **options: Any) -> Any:
        yield from load_frames(image, **options)
        Path(image).unlink()

    monkeypatch.setattr("ctonnx.prediction.streaming.load_frames", once)
    assert predict(*GOOD, "-m", model, "--heatmaps", "maps").exit_code == 0
    assert len([file for file in Path("maps").rglob("*.png") if file.is_file()]) == 3


def test_disk_that_is_full_ends_the_run_in_one_sentence(
    model: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Image.Image, *arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    result = predict(GOOD[0], "-m", model, "--heatmaps", "maps", "--output", "rows.csv")
    assert_refused(result, "No space left on device: 'maps/a.png.heatmap.png'")
    assert not Path("rows.csv").exists()


@pytest.mark.parametrize("folder", ["scans", "scans/maps", "./scans/inner/../maps"])
def test_heatmaps_among_the_scans_are_refused(folder: str, model: Path, scans: Path) -> None:
    result = predict("scans", "-m", model, "--heatmaps", folder)
    sentence = f"expected a folder for --heatmaps outside of 'scans', as its files are read, found '{Path(folder)}'"
    assert_refused(result, sentence)


def test_rows_carry_the_path_of_their_picture_where_it_was_drawn(model: Path, scans: Path, point_at: Any) -> None:
    (Path("maps") / "a.png.heatmap.png").mkdir(parents=True)  # in the way
    result = predict("scans", "-m", model, "--heatmaps", "maps", "--format", "jsonl")
    paths = {row["file"]: row["heatmap"] for row in map(json.loads, result.stdout.splitlines())}
    assert paths == {
        "scans/a.png": None,
        "scans/b.png": None,
        "scans/c.png": "maps/c.png.heatmap.png",
        "scans/inner/d.png": "maps/inner/d.png.heatmap.png",
    }
    table = predict("scans/c.png", "-m", model, "--heatmaps", "maps").stdout.splitlines()[1]
    assert table.endswith("  heatmap: maps/c.png.heatmap.png")
    assert "heatmap" not in predict("scans/c.png", "-m", model).stdout
    point_at(1.0)
    none = predict("scans", "-m", model, "--heatmaps", "maps", "--suspicious-only", "--format", "jsonl").stdout
    assert [json.loads(line)["heatmap"] for line in none.splitlines()] == [None]


# --- where rows come from --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_rows_carry_the_models_hash_the_threshold_and_the_time(
    kind: str, model: Path, scans: Path, clock: str, point_at: Any
) -> None:
    for threshold in (0.25, None):
        point_at(threshold)
        said = predict("scans", "-m", model, "--format", kind).stdout
        rows = list(csv.DictReader(io.StringIO(said)) if kind == "csv" else map(json.loads, said.splitlines()))
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
    said = predict("scans", "-m", model, "--sort", "score", "--format", kind).stdout
    assert re.findall(r"scans/[a-z/]+\.png", said) == order
    if kind != "table":
        predict("scans", "-m", model, "--sort", "score", "-o", f"rows.{kind}")
        assert Path(f"rows.{kind}").read_text(encoding="utf-8") == said


def test_stopped_run_prints_no_row_of_those_that_it_would_sort(
    model: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(self: Predictor, *arguments: Any, **options: Any) -> Iterator[Any]:
        yield self.predict(GOOD[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "predict_many", breaking)
    result = predict("scans", "-m", model, "--sort", "score")
    assert (result.exit_code, len(result.stdout.splitlines())) == (130, 1)


def test_score_of_a_model_that_has_none_cannot_be_sorted_by(model: Path, scans: Path, point_at: Any) -> None:
    point_at(None)
    assert_refused(
        predict("scans", "-m", model, "--sort", "score"),
        f"expected a model with an operating point for --sort score, found none in '{model}'; train it on images of "
        "suspicious and other classes",
    )
    assert predict("scans", "-m", model, "--sort", "probability").exit_code == 1


# --- what the command wrote the last time ----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["folder", "pattern", "names", "stdin"])
def test_rows_among_the_scans_are_no_scan_the_next_time(way: str, model: Path, scans: Path) -> None:
    (scans / "b.png").unlink()
    written = []
    for _ in range(2):
        names = sorted(map(str, Path("scans").rglob("*.*")))
        paths = {"folder": ["scans"], "pattern": ["scans/**"], "names": names, "stdin": ["-"]}[way]
        result = predict(*paths, "-m", model, "-o", "scans/answers.csv", stdin="\n".join(names).encode())
        assert result.exit_code == 0, result.stderr
        written.append((scans / "answers.csv").read_text(encoding="utf-8"))
    assert written[0] == written[1]
    assert [row["file"] for row in csv.DictReader(io.StringIO(written[0]))] == GOOD


def test_heatmaps_that_a_pattern_reaches_are_no_scans_the_next_time(model: Path, scans: Path) -> None:
    for _ in range(2):
        result = predict("scans/**/*.png", "-m", model, "--format", "csv", "--heatmaps", "scans/maps")
        assert [row["file"] for row in csv.DictReader(io.StringIO(result.stdout))] == FILES
        assert len(list(Path("scans/maps").rglob("*.png"))) == 3


# --- counts ----------------------------------------------------------------------------------------------------------


def test_frames_are_counted_as_images_of_their_file(model: Path, scans: Path) -> None:
    pytest.importorskip("pydicom")
    from tests.runtime.images.dicom.dicom_files import encoded, make

    (scans / "stack.dcm").write_bytes(encoded(make(np.zeros((3, 40, 50), np.int16))))
    result = predict("scans", "-m", model)
    assert re.search(r"^5 files, 7 images: 6 predicted \(\d suspicious\), 1 failed; ", result.stderr, re.MULTILINE)
    alone = predict("scans/stack.dcm", "-m", model)
    assert re.search(r"^1 file, 3 images: 3 predicted ", alone.stderr, re.MULTILINE)


# --- suspicious images -----------------------------------------------------------------------------------------------


def test_suspicious_images_and_failures_alone_are_shown(model: Path, scans: Path, point_at: Any) -> None:
    with Predictor(model) as predictor:
        values = {file: predictor.predict(file).probabilities["normal"] for file in GOOD}
    low, middle, _ = sorted(values.values())
    point_at((low + middle) / 2)
    expected = sorted(["scans/b.png", *(file for file, value in values.items() if value > low)])
    result = predict("scans", "-m", model, "--format", "csv", "--suspicious-only", "--heatmaps", "maps")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["file"] for row in rows] == expected
    assert [row["suspicious"] for row in rows if not row["error"]] == ["true", "true"]
    assert len(list(Path("maps").rglob("*.png"))) == 2
    assert re.search(r"^4 files: 3 predicted \(2 suspicious\), 1 failed; ", result.stderr, re.MULTILINE)


def test_model_that_calls_nothing_suspicious_is_refused(model: Path, scans: Path, point_at: Any) -> None:
    point_at(None)
    result = predict("scans", "-m", model, "--suspicious-only")
    assert_refused(
        result,
        f"expected a model with an operating point for --suspicious-only, found none in '{model}'; train it on images "
        "of suspicious and other classes",
    )


# --- names on stdin --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (("-",), "\n".join(FILES).encode()),
        (("-",), ("\r\n".join(FILES) + "\r\n\n").encode()),
        (("-",), b"\xef\xbb\xbf" + "\r\n".join(FILES).encode()),  # as Notepad saves it
        (("-", "-0"), "\0".join(FILES).encode()),
        (("-", "--null"), ("\0".join(FILES) + "\0").encode()),
    ],
)
def test_names_on_stdin_are_predicted(words: tuple[str, ...], stdin: bytes, model: Path, scans: Path) -> None:
    result = predict(*words, "-m", model, "--format", "csv", stdin=stdin)
    assert [row["file"] for row in csv.DictReader(io.StringIO(result.stdout))] == FILES
    assert result.stdout == predict("scans", "-m", model, "--format", "csv").stdout


def test_names_on_stdin_are_no_patterns_and_may_be_any_bytes(model: Path, scans: Path) -> None:
    odd = [b"scans/*.png", b"line\nbreak.png", b"latin-1 \xe9.png"]
    for name in odd:
        Path(os.fsdecode(name)).write_bytes(Path(GOOD[0]).read_bytes())
    result = predict("-", "-0", "-m", model, "--format", "jsonl", stdin=b"\0".join([*odd, b"scans/[a].png"]))
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [document["error"] for document in documents] == [None, None, None, "cannot be read: no such file"]
    assert len({document["probability"] for document in documents[:3]}) == 1


def test_names_that_are_no_utf_8_are_taken_in_the_systems_code_page(
    model: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = os.fsdecode
    monkeypatch.setattr("locale.getencoding", lambda: "cp1252")
    monkeypatch.setattr("os.fsdecode", lambda name: name.decode() if isinstance(name, bytes) else strict(name))
    Path("größe.png").write_bytes(Path(GOOD[0]).read_bytes())
    result = predict("-", "-m", model, "--format", "jsonl", stdin="größe.png\n".encode("cp1252") + b"none\x81.png")
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["file"], first["error"]) == ("größe.png", None)
    assert (second["file"], second["error"]) == ("none\udc81.png", "cannot be read: no such file")


@pytest.mark.parametrize(
    ("words", "stdin", "sentence"),
    [
        (("-",), b"\n\n", "expected file names on stdin, found none"),
        (
            ("-",),
            b"a.png\0b.png\0",
            "expected a file name on each line of stdin, found NUL characters; to read names that end with them, add "
            "-0: ctonnx predict -0 -",
        ),
        (("-", "scans"), b"a.png", ALONE),
        (("scans", "-0"), b"a.png", ALONE),
    ],
)
def test_stdin_that_says_nothing_or_stands_beside_other_paths_is_refused(
    words: tuple[str, ...], stdin: bytes, sentence: str, model: Path, scans: Path
) -> None:
    assert_refused(predict(*words, "-m", model, stdin=stdin), sentence)


# --- batches and progress --------------------------------------------------------------------------------------------


def test_batch_size_is_a_number_or_chosen(model: Path, scans: Path) -> None:
    rows = {predict("scans", "-m", model, "--batch-size", size).stdout for size in ("auto", "1", "7")}
    assert len(rows) == 1
    assert "'many' is not a valid integer range" in predict("scans", "-m", model, "--batch-size", "many").stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal is made with pty")
def test_terminal_sees_progress_where_rows_go_elsewhere_and_a_pipe_does_not(model: Path, scans: Path) -> None:
    import pty

    command = [sys.executable, "-m", "ctonnx", "predict", "scans", "-m", str(model), "--output", "rows.csv"]
    terminal, end = pty.openpty()
    subprocess.run(command, check=False, stdout=end, stderr=end)
    os.close(end)
    seen = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "predicting" in seen
    assert "4/4" in seen
    assert "images/s" in seen.partition("4/4")[2].partition("\n")[0]
    piped = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "predicting" not in piped.stderr + piped.stdout
