"""`ctonnx predict --heatmaps`: a picture for each prediction of this run."""

import csv
import errno
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.runtime.cli.commands.predicting import FILES, GOOD, assert_rejected, predict

from ctonnx.images import load_frames

pytestmark = pytest.mark.usefixtures("clock")


def test_each_prediction_has_a_heatmap(model: Path, scans: Path) -> None:
    result = predict("scans", "-m", model, "--heatmaps", "maps")
    assert result.exit_code == 1
    drawn = sorted(str(file) for file in Path("maps").rglob("*") if file.is_file())
    assert drawn == ["maps/a.png.heatmap.png", "maps/c.png.heatmap.png", "maps/inner/d.png.heatmap.png"]
    for file in drawn:
        with Image.open(file) as picture:
            assert (picture.format, picture.mode) == ("PNG", "RGB")
            picture.load()


def test_heatmaps_of_an_earlier_run_are_replaced_or_removed(model: Path, scans: Path, point_at: Any) -> None:
    predict("scans", "-m", model, "--heatmaps", "maps")
    Path("maps/other.png.heatmap.png").touch()  # of an image that is not looked at
    (scans / "a.png").write_bytes(b"")
    point_at(1.0)  # which nothing reaches
    result = predict("scans", "-m", model, "--heatmaps", "maps", "--suspicious-only")
    assert re.search(
        r"^4 files: 2 predicted \(0 positive, 2 negative, 0 refer\), 2 failed; ", result.stderr, re.MULTILINE
    )
    assert [file.name for file in Path("maps").rglob("*.png")] == ["other.png.heatmap.png"]


def test_heatmap_that_cannot_be_drawn_is_a_warning_and_the_others_are_written(model: Path, scans: Path) -> None:
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
            rf"^3 files: 3 predicted \(\d positive, \d negative, \d refer\), 0 failed, {counted}; ",
            result.stderr,
            re.MULTILINE,
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


def test_image_that_is_deleted_before_it_is_drawn_has_its_heatmap(
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
    assert_rejected(result, "No space left on device: 'maps/a.png.heatmap.png'")
    assert not Path("rows.csv").exists()


@pytest.mark.parametrize("folder", ["scans", "scans/maps", "./scans/inner/../maps"])
def test_heatmaps_among_the_scans_are_rejected(folder: str, model: Path, scans: Path) -> None:
    result = predict("scans", "-m", model, "--heatmaps", folder)
    sentence = f"expected a folder for --heatmaps outside of 'scans', as its files are read, found '{Path(folder)}'"
    assert_rejected(result, sentence)


def test_rows_include_the_path_of_their_heatmap_if_it_was_drawn(model: Path, scans: Path, point_at: Any) -> None:
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


@pytest.mark.parametrize("way", ["folder", "pattern", "names", "stdin"])
def test_rows_among_the_scans_are_not_read_by_the_next_run(way: str, model: Path, scans: Path) -> None:
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


def test_heatmaps_that_a_pattern_matches_are_not_read_by_the_next_run(model: Path, scans: Path) -> None:
    for _ in range(2):
        result = predict("scans/**/*.png", "-m", model, "--format", "csv", "--heatmaps", "scans/maps")
        assert [row["file"] for row in csv.DictReader(io.StringIO(result.stdout))] == FILES
        assert len(list(Path("scans/maps").rglob("*.png"))) == 3
