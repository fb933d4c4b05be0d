"""Pictures of heatmaps: the map lies where it belongs, and the picture says what it shows."""

import contextlib
import errno
import os
import sys
import tracemalloc
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ctonnx import images
from ctonnx.heatmaps import HeatmapFolder, colors, common_root, draw, heatmap_name, spread
from ctonnx.images import Preprocessing, load
from ctonnx.predictor import Failure, Prediction, Predictor
from ctonnx.spec import ModelSpec, OperatingPoint

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


def spec_of(point: OperatingPoint | None = None) -> ModelSpec:
    return ModelSpec(
        name="lungs",
        classes=CLASSES,
        preprocessing=STRETCH,
        precision="fp32",
        created="2026-01-02T03:04:05+00:00",
        checkpoint_sha256="ab" * 32,
        data={},
        synthetic=False,
        metrics={},
        parity={},
        versions={},
        operating_point=point,
    )


POINT = OperatingPoint(positive=("tumor",), threshold=0.9985, sensitivity=1.0, specificity=1.0)


def words_of(monkeypatch: pytest.MonkeyPatch, scan: Image.Image, answer: Prediction, spec: ModelSpec) -> list[str]:
    """Draws a picture and returns the words on it, line by line."""
    written: list[str] = []
    original = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, place: Any, words: str, *arguments: Any, **options: Any) -> None:
        written.append(words)
        original(self, place, words, *arguments, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    picture = draw(scan, answer, spec)
    assert max(ImageFont.load_default(13).getlength(line) for line in written[2:]) <= picture.width - 32
    return written


def kept_by(draw_soon: Any) -> Image.Image:
    (scan,) = draw_soon.args
    assert isinstance(scan, Image.Image)
    return scan


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
    picture = np.asarray(draw(scan, prediction(heatmap(0, 0)), spec_of()))
    left, right = picture[112:624, 16:528], picture[112:624, 544:1056]
    assert (left == 100).all()
    assert right[:100, :100, 0].mean() > 150  # bright where the map is at its peak
    assert (right[300:, 300:] == 100).all()  # and the scan itself where the map is zero
    bar = picture[112:624, 1080]
    assert bar[0].sum() > bar[256].sum() > bar[-1].sum()


def test_picture_names_its_file_and_model_and_says_what_was_called_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    answer = prediction(heatmap(0, 0), source="scans/a.dcm#3", frame=2, suspicious=False, score=0.9978)
    words = words_of(monkeypatch, scan, answer, spec_of(POINT))
    assert words[:4] == [
        "tumor  0.7500",
        "Not suspicious: score 0.9978, called suspicious from 0.9985",
        "File: scans/a.dcm, frame 3",
        "Model: lungs, fp32, trained 2026-01-02, checkpoint abababababab",
    ]
    assert words[4:7] == ["1.0", "0.5", "0.0"]
    assert " ".join(words[7:]) == (
        "Colour: what spoke for tumor (Grad-CAM), relative to its own maximum. The map is coarse: 4 x 4 cells, drawn "
        "smoothly; nothing smaller than a cell is told apart. Score: the probability of tumor. A research tool, not a "
        "medical device."
    )


@pytest.mark.parametrize(
    ("score", "suspicious", "said"),
    [
        (0.9985, True, "Suspicious: score 0.9985, called suspicious from 0.9985"),
        (0.99849, False, "Not suspicious: score 0.99849, called suspicious from 0.99850"),
        (0.9984999, False, "Not suspicious: score 0.9984999, called suspicious from 0.9985000"),
    ],
)
def test_score_has_the_digits_that_tell_it_from_its_threshold(
    score: float, suspicious: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    answer = prediction(heatmap(0, 0), suspicious=suspicious, score=score)
    assert words_of(monkeypatch, scan, answer, spec_of(POINT))[1] == said


def test_picture_of_a_model_without_an_operating_point_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    words = words_of(monkeypatch, scan, prediction(heatmap(0, 0)), spec_of())
    assert words[1] == "This model calls no scan suspicious"
    assert "Score" not in " ".join(words)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("größe.png", "gr\\xf6\\xdfe.png"),
        ("\u80ba\U0001fac1.png", "\\u80ba\\U0001fac1.png"),  # for which the font has no glyphs
        ("a\nb\udcff\x1b.png", "a\\nb\\udcff\\x1b.png"),
    ],
)
def test_name_of_a_file_is_drawn_in_ascii(source: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    assert words_of(monkeypatch, scan, prediction(heatmap(0, 0), source=source), spec_of())[2] == f"File: {shown}"


def test_of_a_long_name_the_end_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    answer = prediction(heatmap(0, 0), source=f"{'folder/' * 60}scan 12.png")
    line = words_of(monkeypatch, scan, answer, spec_of())[2]
    assert line.startswith("File: ...")
    assert line.endswith("/folder/scan 12.png")


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3000, 10), (10, 3000), (168, 122)])
def test_scan_of_any_shape_is_drawn(width: int, height: int) -> None:
    scan = Image.fromarray(np.full((height, width), 100, np.uint8))
    picture = draw(scan, prediction(heatmap(0, 0)), spec_of())
    assert picture.width >= 600  # room for the words under it
    assert 112 + 256 < picture.height <= 740
    panel = np.asarray(picture)[112 : 112 + 256, 16 : 16 + 256]
    assert (panel == 100).any()
    assert (panel[0, 0] == 32).all() == (
        max(width, height) / min(width, height) > 2
    )  # what a strip leaves of its panel is its ground


def test_class_that_is_most_probable_gives_the_map() -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    maps = np.stack([heatmap(0, 0), heatmap(3, 3)])
    one = draw(scan, prediction(maps[0], heatmap=maps), spec_of())
    other = draw(scan, prediction(maps[0], heatmap=maps, probabilities={"normal": 0.75, "tumor": 0.25}), spec_of())
    right = (slice(112, 624), slice(544, 1056))
    brighter = np.asarray(one)[right].astype(int).sum(axis=2) - np.asarray(other)[right].astype(int).sum(axis=2)
    assert brighter[:50, :50].mean() < 0 < brighter[-50:, -50:].mean()


# --- names -----------------------------------------------------------------------------------------------------------


def names_of(*files: str) -> list[str]:
    root = common_root(files)
    return [heatmap_name(file, root).as_posix() for file in files]


def test_names_are_laid_out_as_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = ["scans/a/1.png", "scans/b/1.png", "./scans/b/../c/1.dcm", str(tmp_path / "scans/d.png")]
    assert names_of(*files) == [
        "a/1.png.heatmap.png",
        "b/1.png.heatmap.png",
        "c/1.dcm.heatmap.png",
        "d.png.heatmap.png",
    ]
    assert names_of("one.png") == ["one.png.heatmap.png"]
    assert common_root([]) == ""


def test_name_of_files_without_a_common_folder_begins_at_the_root() -> None:
    assert heatmap_name("/scans/a.png", "").as_posix() == "scans/a.png.heatmap.png"


def test_frame_stands_in_the_name_as_in_the_row(tmp_path: Path) -> None:
    root = common_root([f"{tmp_path}/stack.dcm"])
    assert heatmap_name(f"{tmp_path}/stack.dcm#12", root, frame=11) == Path("stack.dcm#12.heatmap.png")
    assert heatmap_name(f"{tmp_path}/odd#12", root) == Path("odd#12.heatmap.png")


@pytest.mark.parametrize("letter", ["a", "ö", "\udcff"])
@pytest.mark.skipif(sys.platform == "win32", reason="names there are no bytes")
def test_name_that_is_too_long_is_cut_and_stays_one_of_its_own(letter: str) -> None:
    size = len(os.fsencode(letter))
    fits, long = (letter * (length // size) + "b" * (length % size) for length in (243, 244))
    assert names_of(fits) == [f"{fits}.heatmap.png"]
    found = [
        heatmap_name(f"{long}{source}", os.getcwd(), frame=frame).name  # noqa: PTH109 - names are text here
        for source, frame in (("1", None), ("2", None), ("1#1", 0), ("1#2", 1), ("1#1234", 1233))
    ]
    assert len(set(found)) == 5
    assert all(255 - size < len(os.fsencode(name)) <= 255 for name in found)
    assert all(name.startswith(letter * 50) and name.endswith(".heatmap.png") for name in found)
    assert found[0] == heatmap_name(f"{long}1", os.getcwd()).name  # noqa: PTH109


# --- a folder of pictures --------------------------------------------------------------------------------------------


@pytest.fixture
def files(phantoms: Path) -> list[str]:
    return sorted(str(file) for file in (phantoms / "test").rglob("*.png"))


def drawn_below(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def test_folder_holds_a_picture_for_each_prediction(model: Path, files: list[str], tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    with Predictor(model) as predictor:
        with HeatmapFolder(maps, files, predictor.spec) as folder:
            records = list(predictor.predict_many(files, watch=folder.watch))
        spec = predictor.spec
    assert folder.failures == []
    assert drawn_below(maps) == sorted(names_of(*files))
    for record, name in zip(records, names_of(*files), strict=True):
        assert isinstance(record, Prediction)
        with Image.open(maps / name) as picture:
            expected = draw(load(record.source), record, spec)
            assert picture.tobytes() == expected.tobytes()


def test_folder_remembers_no_names(tmp_path: Path) -> None:
    tracemalloc.start()
    with HeatmapFolder(tmp_path, (f"scans/{number}.png" for number in range(5000)), spec_of()):
        kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 100_000


def test_suspicious_images_alone_are_drawn(model: Path, files: list[str], tmp_path: Path) -> None:
    with Predictor(model) as predictor:
        answers = [predictor.predict(file).probabilities["normal"] for file in files]
        middle = sorted(answers)[len(answers) // 2]
        point = OperatingPoint(positive=("normal",), threshold=middle, sensitivity=1.0, specificity=1.0)
        predictor.spec = replace(predictor.spec, operating_point=point)
        with HeatmapFolder(tmp_path, files, predictor.spec, suspicious_only=True) as folder:
            records = list(predictor.predict_many(files, watch=folder.watch))
    suspicious = {record.source for record in records if isinstance(record, Prediction) and record.suspicious}
    assert 0 < len(suspicious) < len(files)
    expected = [name for file, name in zip(files, names_of(*files), strict=True) if file in suspicious]
    assert drawn_below(tmp_path) == sorted(expected)


def test_what_an_earlier_run_drew_and_this_one_does_not_is_gone(tmp_path: Path) -> None:
    """Not suspicious now, unreadable now, a file of frames that is unreadable now; and what is not ours stays."""
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    sources = [str(tmp_path / "scans" / name) for name in ("a.png", "b.png", "c.dcm", "d.png", "c.dcm#7")]
    earlier = ["a.png", "b.png", "c.dcm#1", "c.dcm#12", "c.dcm#7", "d.png", "e.png", "c.dcm#x", "c.dcm#0"]
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "c.dcm#7").touch()  # an image of its own
    (tmp_path / "maps").mkdir()
    for name in earlier:
        (tmp_path / "maps" / f"{name}.heatmap.png").touch()
    (tmp_path / "maps" / "b.png").touch()
    with HeatmapFolder(tmp_path / "maps", sources, spec_of(POINT), suspicious_only=True) as folder:
        folder.watch(scan)(prediction(heatmap(0, 0), source=sources[0], suspicious=False, score=0.1))
        folder.remove(Failure(sources[1], "the file is empty (0 bytes)"))
        folder.remove(Failure(sources[2], "cannot be read"))
        folder.watch(scan)(prediction(heatmap(0, 0), source=sources[3], suspicious=True, score=1.0))
        folder.remove(Failure(str(tmp_path / "scans/none.png"), "cannot be read"))
    kept = ["c.dcm#7", "c.dcm#0", "c.dcm#x", "d.png", "e.png"]
    assert drawn_below(tmp_path / "maps") == sorted(["b.png", *(f"{name}.heatmap.png" for name in kept)])
    assert folder.failures == []


def test_frame_that_cannot_be_read_loses_its_own_picture(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"c.dcm#{number}.heatmap.png").touch()
    source = str(tmp_path / "scans/c.dcm")
    with HeatmapFolder(tmp_path, [source], spec_of()) as folder:
        folder.remove(Failure(f"{source}#2", "damaged", 1))
    assert drawn_below(tmp_path) == ["c.dcm#1.heatmap.png"]


def test_earlier_picture_goes_where_todays_cannot_be_drawn_and_is_told_where_it_cannot_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    picture = tmp_path / "a.png.heatmap.png"
    picture.touch()
    source = str(tmp_path / "scans/a.png")
    with HeatmapFolder(tmp_path, [source], spec_of()) as folder:
        folder.watch(scan)(prediction(heatmap(0, 0), source=source, probabilities={"other": 1.0}))
    assert (folder.failures, picture.exists()) == ([(source, "tuple.index(x): x not in tuple")], False)

    def closed(self: Path, **options: bool) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    picture.touch()
    monkeypatch.setattr(Path, "unlink", closed)
    with HeatmapFolder(tmp_path, [source], spec_of()) as folder:
        folder.remove(Failure(source, "the file is empty (0 bytes)"))
    assert folder.failures == [(source, f"an earlier picture stays (Permission denied: '{picture}')")]


@pytest.mark.parametrize(("width", "height"), [(512, 400), (100, 30), (1030, 777), (3000, 10), (7, 2001)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_what_is_kept_of_an_image_gives_the_same_picture(width: int, height: int, mode: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    scan = Image.fromarray(noise).convert(mode)
    answer = prediction(heatmap(1, 2), source=str(tmp_path / "a.png"))
    with HeatmapFolder(tmp_path, [answer.source], spec_of()) as folder:
        draw_soon = folder.watch(scan)
        draw_soon(answer)
    assert max(kept_by(draw_soon).size) <= 512
    with Image.open(tmp_path / "a.png.heatmap.png") as picture:
        assert picture.tobytes() == draw(scan, answer, spec_of()).tobytes()


def test_each_file_is_read_once(model: Path, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydicom")
    from .test_dicom import encoded, make

    (tmp_path / "stack.dcm").write_bytes(encoded(make(np.zeros((9, 40, 50), np.int16))))
    read: list[str] = []
    original = images._opened

    def opened(source: str) -> Any:
        read.append(source)
        return original(source)

    monkeypatch.setattr(images, "_opened", opened)
    sources = [*files[:3], str(tmp_path / "stack.dcm")]
    with Predictor(model) as predictor, HeatmapFolder(tmp_path / "maps", sources, predictor.spec) as folder:
        list(predictor.predict_many(sources, batch_size=2, watch=folder.watch))
    assert sorted(read) == sorted(sources)
    assert len(drawn_below(tmp_path / "maps")) == 3 + 9
    assert [name for name in drawn_below(tmp_path / "maps") if "stack.dcm#9." in name]


def test_picture_that_fails_is_told_and_the_others_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    sources = [str(tmp_path / name) for name in ("a.png", "b.png", "c.png", "d.png")]
    maps = tmp_path / "maps"
    (maps / "b.png.heatmap.png").mkdir(parents=True)
    with HeatmapFolder(maps, sources, spec_of()) as folder:
        for source in sources[:3]:
            folder.watch(scan)(prediction(heatmap(0, 0), source=source))
        folder.watch(scan)(prediction(heatmap(0, 0), source=sources[3], probabilities={"other": 1.0}))
    assert sorted(folder.failures) == [
        (sources[1], f"Is a directory: '{maps / 'b.png.heatmap.png'}'"),
        (sources[3], "tuple.index(x): x not in tuple"),
    ]
    assert drawn_below(maps) == ["a.png.heatmap.png", "c.png.heatmap.png"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_disk_that_takes_no_more_ends_the_run(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Image.Image, *arguments: Any, **options: Any) -> None:
        raise OSError(number, "no more")

    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    monkeypatch.setattr(Image.Image, "save", full)

    def fill() -> None:
        with HeatmapFolder(tmp_path / "maps", ["a.png"], spec_of()) as folder:
            for _ in range(100):
                folder.watch(scan)(prediction(heatmap(0, 0)))

    with pytest.raises(OSError, match="no more") as caught:
        fill()
    assert caught.value.filename == str(tmp_path / "maps" / "a.png.heatmap.png")


def test_error_beside_it_ends_the_folder_and_what_waits_for_its_room(tmp_path: Path) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))

    def add(folder: HeatmapFolder) -> None:
        with contextlib.suppress(RuntimeError):  # it is closed meanwhile
            for _ in range(100):
                folder.watch(scan)(prediction(heatmap(0, 0)))

    def stop(pool: ThreadPoolExecutor) -> None:
        with HeatmapFolder(tmp_path / "maps", ["a.png"], spec_of()) as folder:
            waiting.extend(pool.submit(add, folder) for _ in range(3))
            raise KeyboardInterrupt

    waiting: list[Future[None]] = []
    with ThreadPoolExecutor(3) as pool:
        with pytest.raises(KeyboardInterrupt):
            stop(pool)
        for thread in waiting:
            thread.result(timeout=20)


def test_folder_that_cannot_be_written_to_is_an_error_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "maps").write_text("in the way", encoding="utf-8")
    with pytest.raises(FileExistsError) as caught:
        HeatmapFolder(tmp_path / "maps", ["a.png"], spec_of())
    assert caught.value.filename == str(tmp_path / "maps")

    def closed(**options: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(options["dir"] / "tmp1234"))

    monkeypatch.setattr("ctonnx.heatmaps.TemporaryFile", closed)
    with pytest.raises(PermissionError) as denied:
        HeatmapFolder(tmp_path / "other", ["a.png"], spec_of())
    assert denied.value.filename == str(tmp_path / "other")
