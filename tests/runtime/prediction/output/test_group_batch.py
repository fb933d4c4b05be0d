"""Prediction of groups of files: rows, pictures and counts, with the model."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.patient_rule import PatientRule
from ctonnx.prediction.output.batch import OutputSettings
from ctonnx.prediction.output.group_batch import GroupBatchResult, GroupWatch, predict_group_files
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Failure, Record
from ctonnx.prediction.series.grouping import Group, group_files
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.prediction.series.reduction import GroupRecord, GroupRule
from ctonnx.prediction.series.slices import slice_reader


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two folders of three images each, the second with an empty file, and a third of an empty file alone."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(3).integers(0, 256, (5, 70, 90)).astype(np.uint8)
    names = ["a/s1.png", "a/s2.png", "a/s10.png", "b/s1.png", "b/s3.png"]
    for name, pixels in zip(names, noise, strict=True):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(name)
    Path("c").mkdir()
    for empty in ("b/s2.png", "c/s1.png"):
        Path(empty).touch()
    return [*names[:3], "b/s1.png", "b/s2.png", "b/s3.png", "c/s1.png"]


@pytest.fixture
def scores(predictor: Predictor, folders: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The probability of `normal` of each image, which a rule for patients takes the mean of per folder."""
    found = {file: predictor.predict(file).probabilities["normal"] for file in folders if Path(file).stat().st_size}
    point = OperatingPoint(positive=("normal",), threshold=0.5, sensitivity=1.0, specificity=1.0)
    means = [np.mean([score for file, score in found.items() if file.startswith(name)]) for name in "ab"]
    rule = PatientRule(aggregate="mean", operating_point=replace(point, threshold=float(np.mean(means))), patients=9)
    spec = replace(predictor.spec, operating_point=point, prediction_sets=None, novelty=None, patient_rule=rule)
    monkeypatch.setattr(predictor, "spec", replace(spec, brightness=None))
    return found


@dataclass
class Batch:
    """A batch of folders and all that it reported."""

    predictor: Predictor
    rows: list[dict[str, Any]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def run(
        self, files: list[str], *, watch: GroupWatch | None = None, source: Any = None, **settings: Any
    ) -> GroupBatchResult:
        @contextmanager
        def progress() -> Iterator[Callable[[int], None]]:
            yield self.steps.append

        read = slice_reader(Pseudonyms(), needs_dicom=False)
        rule = GroupRule.of(self.predictor.spec)
        assert rule is not None
        return predict_group_files(
            self.predictor,
            group_files(files, "folder", read),
            rule,
            OutputSettings(row_format="jsonl", **settings, print_row=lambda row: self.rows.append(json.loads(row))),
            read=read,
            progress=progress(),
            watch=watch,
            source=source,
        )


def test_each_folder_has_a_row_with_the_mean_of_its_slices(
    predictor: Predictor, folders: list[str], scores: dict[str, float]
) -> None:
    batch = Batch(predictor)
    result = batch.run(folders, batch_size=2)
    assert [row["group"] for row in batch.rows] == ["a", "b", "c"]
    for row, name in zip(batch.rows, "ab", strict=False):
        single = [score for file, score in scores.items() if file.startswith(name)]
        assert row["score"] == pytest.approx(np.mean(single), abs=1e-6)
        assert (row["used"], row["carrying"]) == (len(single), len(single))
    assert batch.rows[2]["error"] == "the file is empty (0 bytes)"
    assert (result.predicted, result.failed, result.used, result.failed_files) == (2, 1, 5, 2)
    assert result.decisions == {"positive": 1, "negative": 0, "refer": 1}  # a slice of the second cannot be read
    assert batch.steps == [1] * 7


def test_rows_are_sorted_with_failures_last(predictor: Predictor, folders: list[str], scores: dict[str, float]) -> None:
    batch = Batch(predictor)
    batch.run(folders[::-1], sort="score")
    assert [row["decision"] for row in batch.rows] == ["positive", "refer", None]


def test_pictures_are_in_the_layout_of_the_folders(
    predictor: Predictor, folders: list[str], scores: dict[str, float]
) -> None:
    batch = Batch(predictor)
    result = batch.run(folders, heatmaps=Path("maps"))
    assert [row["heatmap"] for row in batch.rows] == ["maps/a.heatmap.png", "maps/b.heatmap.png", None]
    assert sorted(path.name for path in Path("maps").iterdir()) == ["a.heatmap.png", "b.heatmap.png"]
    with Image.open("maps/a.heatmap.png") as picture:
        assert picture.width == 1404
    assert result.undrawn == []


def test_negative_groups_are_left_out_and_their_earlier_pictures_removed(
    predictor: Predictor, folders: list[str], scores: dict[str, float]
) -> None:
    Batch(predictor).run(folders, heatmaps=Path("maps"))
    batch = Batch(predictor)
    readable = [file for file in folders if file != "b/s2.png"]
    batch.run(readable, heatmaps=Path("maps"), suspicious_only=True)
    (shown, failed) = batch.rows
    assert (shown["decision"], failed["group"]) == ("positive", "c")
    assert [str(path) for path in Path("maps").iterdir()] == [shown["heatmap"]]


def test_picture_that_cannot_be_drawn_does_not_end_the_run(
    predictor: Predictor, folders: list[str], scores: dict[str, float]
) -> None:
    Path("maps/a.heatmap.png").mkdir(parents=True)
    batch = Batch(predictor)
    result = batch.run(folders, heatmaps=Path("maps"))
    assert [(name, batch.rows[0]["heatmap"]) for name, _ in result.undrawn] == [("a", None)]
    assert batch.rows[1]["heatmap"] == "maps/b.heatmap.png"


def test_error_leaves_no_file_of_rows(
    predictor: Predictor, folders: list[str], scores: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **options: Any) -> Iterator[Any]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(predictor, "predict_many", broken)
    with pytest.raises(KeyboardInterrupt):
        Batch(predictor).run(folders, output=Path("out/rows.jsonl"), heatmaps=Path("maps"))
    assert sorted(path.name for path in Path().iterdir()) == ["a", "b", "c"]


def test_watch_sees_the_records_of_a_group_before_its_result(
    predictor: Predictor, folders: list[str], scores: dict[str, float]
) -> None:
    seen: list[str | None] = []

    class Watch:
        def add(self, record: Record) -> None:
            seen.append(record.source)

        def finish(self, group: Group, record: GroupRecord) -> None:
            assert group.name == record.name
            seen.append(group.name)

    Batch(predictor).run(folders, batch_size=4, watch=Watch())
    assert seen == [*folders[:3], "a", *folders[3:6], "b", folders[6], "c"]


def test_source_provides_the_files_in_order_and_releases_each_group(
    predictor: Predictor, folders: list[str], scores: dict[str, float]
) -> None:
    seen: list[str | None] = []

    class Source:
        def fetch(self, file: str) -> str:
            seen.append(file)
            return file

        def explained(self, record: Record) -> Record:
            return replace(record, error="not there") if isinstance(record, Failure) else record

        def provided(self, group: Group) -> Group:
            return group

        def shown(self, text: str) -> str:
            return f"<{text}>"

        def release(self, group: Group) -> None:
            seen.append(group.name)

    batch = Batch(predictor)
    batch.run(folders, batch_size=1, source=Source(), heatmaps=Path("maps"))
    assert [one for one in seen if one in folders] == folders
    assert [one for one in seen if one not in folders] == ["a", "b", "c"]
    assert [row["folders"] for row in batch.rows] == [["<a>"], ["<b>"], ["<c>"]]
    assert {one["file"] for one in batch.rows[0]["carried_by"]} == {f"<{file}>" for file in folders[:3]}
    assert batch.rows[1]["failures"] == [{"file": "<b/s2.png>", "error": "not there"}]
    assert batch.rows[2]["error"] == "<not there>"
