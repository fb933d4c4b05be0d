"""The scans that a recalibration uses: each once, none that the model was trained on, enough of each class."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.train.grey_models import outputs_of, write_model, write_scans

from ctonnx.errors import DataError
from ctonnx.prediction.predictor import Predictor
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.sources import open_source
from ctonnx_train.evaluation.evaluated_model import EvaluatedModel, open_evaluated_model
from ctonnx_train.recalibration.scans import SiteScans, read_scans

COUNTS = {"large cell": 12, "normal": 24, "tumor": 12}


@pytest.fixture
def model(tmp_path: Path) -> EvaluatedModel:
    return open_evaluated_model(write_model(tmp_path / "model.fp32.onnx"))


@pytest.fixture
def predictor(model: EvaluatedModel) -> Iterator[Predictor]:
    with Predictor(model.path) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_scans(tmp_path / "site", COUNTS)


def read(predictor: Predictor, model: EvaluatedModel, data: Path, **options: Any) -> tuple[SiteScans, list[str]]:
    lines: list[str] = []
    chosen: dict[str, Any] = {"split": "all", "class_names": None, "group_regex": None, **options}
    return read_scans(predictor, model, data, positive=("large cell", "tumor"), log=lines.append, **chosen), lines


def stored(data: Path, model: EvaluatedModel) -> PixelStore:
    return PixelStore(open_source(data), read_data(data, classes=model.classes).samples, model.preprocessing)


def test_outputs_are_the_models_undivided_logits(predictor: Predictor, model: EvaluatedModel, folder: Path) -> None:
    scans, lines = read(predictor, model, folder)
    assert lines == [f"ONNX fp32 'grey' on 48 scans of {folder}"]
    assert np.bincount(scans.labels).tolist() == [12, 24, 12]
    pixels = np.repeat(stored(folder, model).take(range(48)), 3, axis=3)
    np.testing.assert_allclose(scans.logits, outputs_of(pixels).logits, atol=1e-4)
    np.testing.assert_array_equal(scans.pixels, pixels[:16])
    assert scans.novelty is None
    assert (scans.facts["name"], scans.facts["images"]) == ("site", COUNTS)
    assert scans.facts["left_out"] == {"conflicting": 0, "copies": 0, "trained_on": None}


def test_copies_conflicts_and_training_images_are_left_out(
    predictor: Predictor, model: EvaluatedModel, folder: Path
) -> None:
    before, _ = read(predictor, model, folder)
    shutil.copy(folder / "normal/0.png", folder / "normal/copy.png")
    shutil.copy(folder / "normal/1.png", folder / "tumor/other.png")
    known = stored(folder, model).digests
    trained = replace(
        model, digests={"train": frozenset({known["normal/2.png"], known["tumor/3.png"]}), "valid": frozenset()}
    )
    scans, lines = read(predictor, trained, folder)
    assert lines[:3] == [
        "left out: 2 scans with a copy of another class",
        "left out: 1 scan with identical pixels to another",
        "left out: 2 scans that the model was trained on",
    ]
    assert scans.facts["images"] == {"large cell": 12, "normal": 22, "tumor": 11}
    assert scans.facts["left_out"] == {"conflicting": 2, "copies": 1, "trained_on": 2}
    assert scans.facts["fingerprint"] != before.facts["fingerprint"]


def test_fingerprint_depends_on_pixels_and_classes_only(
    predictor: Predictor, model: EvaluatedModel, folder: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    (moved / "tumor/0.png").rename(moved / "tumor/renamed.png")
    assert (
        read(predictor, model, moved)[0].facts["fingerprint"] == read(predictor, model, folder)[0].facts["fingerprint"]
    )


def test_groups_are_those_of_the_paths(predictor: Predictor, model: EvaluatedModel, folder: Path) -> None:
    scans, _ = read(predictor, model, folder, group_regex=r"/(\d+)\.png")
    assert scans.is_grouped
    assert len(np.unique(scans.groups)) == 24


@pytest.mark.parametrize("own", [True, False])
def test_other_scans_of_training_patients_are_known_in_the_folder_of_the_training(
    predictor: Predictor, model: EvaluatedModel, folder: Path, tmp_path: Path, own: bool
) -> None:
    regex = r"/(\d+)\.png"
    trained = replace(
        model,
        data={"patients": {"origin": "--group-regex"}},
        data_root=folder.resolve() if own else tmp_path,
        training_patients=frozenset({"3", "20"}),
    )
    scans, lines = read(predictor, trained, folder, group_regex=regex)
    text = (
        "warning: 4 scans of patients that the model was trained on: the values are fitted on the others, if there are "
        "enough; the comparison is optimistic"
    )
    if not own:  # another site numbers its patients, too
        assert (scans.leaked, text in lines) == (None, False)
        return
    assert scans.leaked is not None
    paths = [sample.path for sample in read_data(folder, classes=model.classes).samples]
    assert {path for path, leaked in zip(paths, scans.leaked, strict=True) if leaked} == {
        *("large cell/3.png", "normal/20.png", "normal/3.png", "tumor/3.png")
    }
    assert text in lines
    assert read(predictor, trained, folder)[0].leaked is None


def test_split_can_be_chosen(predictor: Predictor, model: EvaluatedModel, tmp_path: Path) -> None:
    counts = {f"{split}/{name}": count for split in ("train", "test") for name, count in COUNTS.items()}
    data = write_scans(tmp_path / "split", counts)
    assert len(read(predictor, model, data)[0]) == 96
    assert len(read(predictor, model, data, split="test")[0]) == 48
    with pytest.raises(
        DataError, match=r"^expected images of the split 'valid' in '.*', found 'train', 'test'; choose"
    ):
        read(predictor, model, data, split="valid")


def test_too_few_scans_are_rejected_before_any_is_predicted(
    predictor: Predictor, model: EvaluatedModel, tmp_path: Path
) -> None:
    data = write_scans(tmp_path / "few", {"large cell": 4, "normal": 19, "tumor": 14})
    predictor.close()
    with pytest.raises(DataError) as caught:
        read(predictor, model, data)
    assert str(caught.value) == (
        "expected 20 or more suspicious scans, 20 or more others, and 5 or more of each class, each in a group of its "
        f"own, in '{data}', found 18 suspicious and 19 others (large cell 4, normal 19, tumor 14): too few to fit a "
        "threshold and to judge it; add labelled scans, or keep the model as it is"
    )


def test_groups_count_once_for_a_class(predictor: Predictor, model: EvaluatedModel, tmp_path: Path) -> None:
    data = write_scans(
        tmp_path / "grouped", {"large cell/p1": 12, "normal": 24, "tumor": 12}, kinds={"large cell/p1": "tumor"}
    )
    with pytest.raises(DataError, match=r"\(large cell 12 in 1 group, normal 24, tumor 12\)"):
        read(predictor, model, data, group_regex=r"/(p\d|\d+)[/.]")


def test_unknown_class_is_rejected(predictor: Predictor, model: EvaluatedModel, tmp_path: Path) -> None:
    data = write_scans(tmp_path / "others", {"benign": 3, "tumor": 3})
    with pytest.raises(DataError, match=r"found 'benign' too; .*; for other classes: ctonnx evaluate --external$"):
        read(predictor, model, data)
