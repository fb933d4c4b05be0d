"""Pictures of heatmaps: the map lies where it belongs, and the picture says what it shows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ctonnx.heatmaps import HeatmapFolder, colors, draw, heatmap_names, spread
from ctonnx.images import Preprocessing, load
from ctonnx.predictor import Prediction, Predictor

CLASSES = ("normal", "tumor")
STRETCH = Preprocessing(size=64)
PAD = Preprocessing(size=64, resize="pad")


def heatmap(row: int, column: int, cells: int = 4) -> NDArray[np.float32]:
    """A map with one cell above zero."""
    values = np.zeros((cells, cells), np.float32)
    values[row, column] = 0.2
    return values


def prediction(values: NDArray[np.float32], **changes: Any) -> Prediction:
    settings: dict[str, Any] = {"source": "a.png", "probabilities": {"tumor": 0.75, "normal": 0.25}}
    return Prediction(
        **{
            **settings,
            "logits": np.zeros(2, np.float32),
            "heatmap": np.stack([np.zeros_like(values), values]),
            **changes,
        }
    )


@pytest.mark.parametrize("size", [(400, 400), (400, 100), (100, 400)])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 3), (3, 0), (2, 1)])
def test_stretched_map_covers_the_whole_scan(size: tuple[int, int], row: int, column: int) -> None:
    laid = spread(heatmap(row, column), size, STRETCH)
    assert laid.shape == size[::-1]
    y, x = np.unravel_index(laid.argmax(), laid.shape)
    assert int(y) * 4 // size[1] == row
    assert int(x) * 4 // size[0] == column
    assert laid.max() == pytest.approx(1, abs=0.05)
    assert laid.min() >= 0


def test_padded_map_lies_on_the_square_that_the_scan_stands_in() -> None:
    wide = spread(heatmap(1, 3), (400, 200), PAD)  # the square's rows 0 and 3 are black bars
    assert wide.shape == (200, 400)
    y, x = np.unravel_index(wide.argmax(), wide.shape)
    assert (int(y) * 2 // 200, int(x) * 4 // 400) == (0, 3)
    tall = spread(heatmap(3, 2), (200, 400), PAD)
    y, x = np.unravel_index(tall.argmax(), tall.shape)
    assert (int(y) * 4 // 400, int(x) * 2 // 200) == (3, 1)


def test_empty_map_stays_empty() -> None:
    assert not spread(np.zeros((4, 4), np.float32), (50, 40), STRETCH).any()


def test_colours_get_lighter_all_the_way() -> None:
    ramp = colors(np.linspace(0, 1, 101, dtype=np.float32))
    assert ramp.shape == (101, 3)
    lightness = ramp @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()
    assert ramp[0].tolist() == [0, 0, 4]
    assert ramp[-1].tolist() == [252, 255, 164]


def test_picture_shows_the_scan_and_beside_it_the_scan_under_its_map() -> None:
    scan = Image.fromarray(np.full((512, 512), 100, np.uint8))
    picture = np.asarray(draw(scan, prediction(heatmap(0, 0)), CLASSES, STRETCH))
    left, right = picture[48:560, 16:528], picture[48:560, 544:1056]
    assert (left == 100).all()
    assert right[:100, :100, 0].mean() > 150  # bright where the map is at its peak
    assert (right[300:, 300:] == 100).all()  # and the scan itself where the map is zero
    bar = picture[48:560, 1080]
    assert bar[0].sum() > bar[256].sum() > bar[-1].sum()


def test_picture_differs_by_what_is_said_of_the_scan() -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    said = [
        draw(scan, prediction(heatmap(0, 0), suspicious=suspicious), CLASSES, STRETCH).tobytes()
        for suspicious in (None, True, False)
    ]
    assert len(set(said)) == 3


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3000, 10), (10, 3000), (168, 122)])
def test_scan_of_any_shape_is_drawn(width: int, height: int) -> None:
    scan = Image.fromarray(np.full((height, width), 100, np.uint8))
    picture = draw(scan, prediction(heatmap(0, 0)), CLASSES, STRETCH)
    assert picture.width >= 600  # room for the words under it
    assert picture.height <= 600


def test_class_that_is_most_probable_gives_the_map() -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    maps = np.stack([heatmap(0, 0), heatmap(3, 3)])
    one = draw(scan, prediction(maps[0], heatmap=maps), CLASSES, STRETCH)
    other = draw(
        scan, prediction(maps[0], heatmap=maps, probabilities={"normal": 0.75, "tumor": 0.25}), CLASSES, STRETCH
    )
    right = (slice(48, 560), slice(544, 1056))
    brighter = np.asarray(one)[right].astype(int).sum(axis=2) - np.asarray(other)[right].astype(int).sum(axis=2)
    assert brighter[:50, :50].mean() < 0 < brighter[-50:, -50:].mean()


def test_names_are_laid_out_as_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = heatmap_names(["scans/a/1.png", "scans/b/1.png", "./scans/b/../c/1.dcm", str(tmp_path / "scans/d.png")])
    assert [name.as_posix() for name in found] == [
        "a/1.png.heatmap.png",
        "b/1.png.heatmap.png",
        "c/1.dcm.heatmap.png",
        "d.png.heatmap.png",
    ]
    assert heatmap_names(["one.png"]) == [Path("one.png.heatmap.png")]
    assert heatmap_names([]) == []


def test_folder_holds_a_picture_for_each_prediction(model: Path, phantoms: Path, tmp_path: Path) -> None:
    files = sorted(str(file) for file in (phantoms / "test").rglob("*.png"))
    with Predictor(model) as predictor:
        with HeatmapFolder(tmp_path / "maps", files, predictor.spec) as folder:
            records = list(predictor.predict_many(files))
            for record in records:
                assert isinstance(record, Prediction)
                folder.add(record)
        spec = predictor.spec
    drawn = sorted(
        file.relative_to(tmp_path / "maps").as_posix() for file in (tmp_path / "maps").rglob("*") if file.is_file()
    )
    assert drawn == sorted(name.as_posix() for name in heatmap_names(files))
    assert isinstance(records[0], Prediction)
    with Image.open(tmp_path / "maps" / heatmap_names(files)[0]) as picture:
        expected = draw(load(files[0]), records[0], spec.classes, spec.preprocessing)
        assert picture.tobytes() == expected.tobytes()


def test_picture_that_cannot_be_written_is_an_error_that_names_it(model: Path, phantoms: Path, tmp_path: Path) -> None:
    file = str(next((phantoms / "test").rglob("*.png")))
    (tmp_path / "maps").write_text("in the way", encoding="utf-8")
    with Predictor(model) as predictor:
        answer = predictor.predict(file)
        with (
            pytest.raises(OSError, match=r"maps"),
            HeatmapFolder(tmp_path / "maps", [file], predictor.spec) as folder,
        ):
            folder.add(answer)
