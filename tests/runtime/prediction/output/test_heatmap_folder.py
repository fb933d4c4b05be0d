"""Folder of heatmaps: a unique name for each picture, a picture for each prediction, and none of an earlier run."""

import contextlib
import errno
import os
import sys
import threading
import tracemalloc
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.runtime.prediction.output.pictures.test_heatmap_image import POINT, heatmap, prediction, spec_of

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.images import load, loading, source
from ctonnx.prediction.output.heatmap_folder import HeatmapFolder, common_root, heatmap_name
from ctonnx.prediction.output.pictures.heatmap_image import draw
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Failure, Prediction

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


def test_frame_is_in_the_name_as_in_the_row(tmp_path: Path) -> None:
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


def kept_by(draw_soon: Any) -> Image.Image:
    scan = draw_soon.args[0]
    assert isinstance(scan, Image.Image)
    return scan


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
            expected = draw(load(record.source).image, record, spec)
            assert picture.tobytes() == expected.tobytes()


def test_picture_is_there_when_its_prediction_is_yielded(model: Path, files: list[str], tmp_path: Path) -> None:
    """It is drawn in the thread that decoded the image, in parallel with others."""
    drawers = set()
    original = draw

    def draw_noted(*arguments: Any) -> Image.Image:
        drawers.add(threading.current_thread().name)
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch, Predictor(model) as predictor:
        patch.setattr("ctonnx.prediction.output.heatmap_folder.draw", draw_noted)
        with HeatmapFolder(tmp_path / "maps", files, predictor.spec) as folder:
            for record in predictor.predict_many(files, batch_size=1, watch=folder.watch):
                picture = folder.picture(record)
                assert picture is not None
                assert picture.is_file()
    assert all(name.startswith("ctonnx-worker") for name in drawers)


def test_record_without_a_picture_has_no_path(tmp_path: Path) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    good, bad, calm = (
        prediction(heatmap(0, 0), source=str(tmp_path / name), decision=decision, score=0.5, **more)
        for name, decision, more in (
            ("a.png", "positive", {}),
            ("b.png", "refer", {"frame": 1}),
            ("c.png", "negative", {}),
        )
    )
    maps = tmp_path / "maps"
    (maps / "b.png#2.heatmap.png").mkdir(parents=True)  # in the way
    sources = [record.source for record in (good, bad, calm)]
    with HeatmapFolder(maps, sources, spec_of(POINT), suspicious_only=True) as folder:
        for record in (good, bad, calm):
            folder.watch(scan)(record)
        assert folder.picture(good) == maps / "a.png.heatmap.png"
        assert [folder.picture(record) for record in (bad, calm, Failure("d.png", "damaged"))] == [None] * 3


def test_folder_that_was_made_goes_with_an_error_while_it_is_empty(tmp_path: Path) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))

    def stop(*, drawn: bool) -> None:
        with HeatmapFolder(tmp_path / "a/maps", ["a.png"], spec_of()) as folder:
            if drawn:
                folder.watch(scan)(prediction(heatmap(0, 0)))
            raise KeyboardInterrupt

    for drawn in (False, True):
        with pytest.raises(KeyboardInterrupt):
            stop(drawn=drawn)
        assert (tmp_path / "a/maps").exists() is drawn


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
        predictor.spec = replace(predictor.spec, operating_point=point, prediction_sets=None, novelty=None)
        with HeatmapFolder(tmp_path, files, predictor.spec, suspicious_only=True) as folder:
            records = list(predictor.predict_many(files, watch=folder.watch))
    suspicious = {record.source for record in records if isinstance(record, Prediction) and record.suspicious}
    assert 0 < len(suspicious) < len(files)
    expected = [name for file, name in zip(files, names_of(*files), strict=True) if file in suspicious]
    assert drawn_below(tmp_path) == sorted(expected)


def test_pictures_of_an_earlier_run_that_this_one_does_not_draw_are_removed(tmp_path: Path) -> None:
    """An image that is not suspicious any more, an unreadable one, an unreadable file of frames; other files stay."""
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
        folder.watch(scan)(prediction(heatmap(0, 0), source=sources[0], decision="negative", score=0.1))
        folder.remove(Failure(sources[1], "the file is empty (0 bytes)"))
        folder.remove(Failure(sources[2], "cannot be read"))
        folder.watch(scan)(prediction(heatmap(0, 0), source=sources[3], decision="positive", score=1.0))
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


def test_earlier_picture_is_removed_if_the_new_one_cannot_be_drawn_and_reported_if_it_cannot(
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
def test_reduced_image_gives_the_same_picture(width: int, height: int, mode: str, tmp_path: Path) -> None:
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
    from tests.runtime.images.dicom.dicom_files import encoded, make

    (tmp_path / "stack.dcm").write_bytes(encoded(make(np.zeros((9, 40, 50), np.int16))))
    read: list[str] = []
    original = source.open_source

    def opened(source: str) -> Any:
        read.append(source)
        return original(source)

    monkeypatch.setattr(loading, "open_source", opened)
    sources = [*files[:3], str(tmp_path / "stack.dcm")]
    with Predictor(model) as predictor, HeatmapFolder(tmp_path / "maps", sources, predictor.spec) as folder:
        list(predictor.predict_many(sources, batch_size=2, watch=folder.watch))
    assert sorted(read) == sorted(sources)
    assert len(drawn_below(tmp_path / "maps")) == 3 + 9
    assert [name for name in drawn_below(tmp_path / "maps") if "stack.dcm#9." in name]


def test_picture_that_fails_is_reported_and_the_others_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_full_disk_ends_the_run(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_other_error_ends_the_folder_and_its_waiting_threads(tmp_path: Path) -> None:
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

    monkeypatch.setattr("ctonnx.prediction.output.heatmap_folder.TemporaryFile", closed)
    with pytest.raises(PermissionError) as denied:
        HeatmapFolder(tmp_path / "other", ["a.png"], spec_of())
    assert denied.value.filename == str(tmp_path / "other")
