"""Prediction of files: a row per image in the requested order, heatmaps, and counts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.prediction.output.batch import BatchResult, OutputSettings, predict_files
from ctonnx.prediction.predictor import Predictor


@pytest.fixture
def files(phantoms: Path, tmp_path: Path) -> list[str]:
    """Three phantoms and, between them, an empty file."""
    (tmp_path / "empty.png").touch()
    first, *others = [str(file) for file in sorted((phantoms / "test").rglob("*.png"))[::3]]
    return [first, str(tmp_path / "empty.png"), *others]


@dataclass
class Batch:
    """A batch and all that it reported."""

    predictor: Predictor
    rows: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def run(self, files: list[str], **settings: Any) -> BatchResult:
        @contextmanager
        def progress() -> Iterator[Callable[[int], None]]:
            yield self.steps.append

        return predict_files(
            self.predictor,
            files,
            OutputSettings(**{"row_format": "csv", **settings}, print_row=self.rows.append, log=self.messages.append),
            progress=progress(),
        )

    def sources(self) -> list[str]:
        return [row.partition(",")[0] for row in self.rows[1:]]


def at_median(predictor: Predictor, files: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sets a threshold that the two highest of three scores reach; returns the images by descending score."""
    images = [file for file in files if not file.endswith("empty.png")]
    scores = {file: predictor.predict(file).probabilities["normal"] for file in images}
    point = OperatingPoint(positive=("normal",), threshold=sorted(scores.values())[1], sensitivity=1.0, specificity=1.0)
    monkeypatch.setattr(
        predictor, "spec", replace(predictor.spec, operating_point=point, prediction_sets=None, novelty=None)
    )
    return sorted(images, key=lambda file: -scores[file])


def test_each_image_has_a_row_and_is_counted(
    predictor: Predictor, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_median(predictor, files, monkeypatch)
    batch = Batch(predictor)
    result = batch.run(files)
    assert batch.sources() == files
    assert (result.predicted, result.failed, result.undrawn) == (3, 1, [])
    assert result.decisions == {"positive": 2, "negative": 1, "refer": 0}
    assert result.seconds > 0
    assert batch.steps == [1] * 4
    assert batch.messages == []


def test_frames_advance_the_progress_once_per_file(predictor: Predictor, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    import numpy as np
    from tests.runtime.images.dicom.dicom_files import encoded, make

    (tmp_path / "stack.dcm").write_bytes(encoded(make(np.zeros((3, 40, 50), np.int16))))
    batch = Batch(predictor)
    assert batch.run([str(tmp_path / "stack.dcm")]).predicted == 3
    assert batch.steps == [1, 0, 0]


def test_sorted_rows_are_in_descending_order_and_failures_are_last(
    predictor: Predictor, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_score = at_median(predictor, files, monkeypatch)
    batch = Batch(predictor)
    batch.run(files, sort="score")
    assert batch.sources() == [*by_score, files[1]]


def test_suspicious_images_and_failures_are_selected(
    predictor: Predictor, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_score = at_median(predictor, files, monkeypatch)
    batch = Batch(predictor)
    result = batch.run(files, suspicious_only=True, heatmaps=tmp_path / "maps")
    assert sorted(batch.sources()) == sorted([*by_score[:2], files[1]])
    assert (result.predicted, result.decisions["positive"], result.failed) == (3, 2, 1)
    assert len(list((tmp_path / "maps").rglob("*.png"))) == 2


def test_rows_are_written_to_a_file_and_not_printed(
    predictor: Predictor, files: list[str], tmp_path: Path, leave_behind: Callable[[Path], Path]
) -> None:
    rows = tmp_path / "today/rows.csv"
    rows.parent.mkdir()
    left = leave_behind(rows)
    batch = Batch(predictor)
    batch.run(files, output=rows)
    assert batch.rows == []
    assert [line.partition(",")[0] for line in rows.read_text(encoding="utf-8").splitlines()[1:]] == files
    assert len(batch.messages) == 1
    assert left.name in batch.messages[0]


def test_error_leaves_no_file_of_rows(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(*arguments: Any, **options: Any) -> Iterator[Any]:
        raise OSError("the share is gone")
        yield

    monkeypatch.setattr(predictor, "predict_many", breaking)
    with pytest.raises(OSError, match="the share is gone"):
        Batch(predictor).run(["a.png"], output=tmp_path / "made/rows.csv")
    assert list(tmp_path.iterdir()) == []


def test_heatmap_that_cannot_be_drawn_is_in_the_result(predictor: Predictor, files: list[str], tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    batch = Batch(predictor)
    batch.run(files[:1], heatmaps=maps)
    (picture,) = maps.iterdir()
    picture.unlink()
    picture.mkdir()
    result = batch.run(files[:1], heatmaps=maps)
    assert result.undrawn == [(files[0], f"Is a directory: '{picture}'")]
    assert batch.sources()[0] == files[0]
