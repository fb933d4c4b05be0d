"""The scans that a recalibration uses: each once, none that the model was trained on, enough of each class."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.train.grey_models import outputs_of, write_model, write_scans

from ctonnx.artifacts.run import Run
from ctonnx.errors import DataError
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.series.pseudonyms import Pseudonyms
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


def test_scans_of_training_patients_are_left_out(predictor: Predictor, model: EvaluatedModel, folder: Path) -> None:
    trained = replace(
        model,
        data_root=folder.resolve(),
        digests={"train": frozenset({"of another image"})},
        data={"patients": {"origin": "--group-regex"}},
        training_patients=frozenset({"3"}),
    )
    scans, lines = read(predictor, trained, folder, group_regex=r"/(\d+)\.png")
    assert "left out: 3 scans that the model was trained on" in lines
    assert scans.facts["patients"] == {"origin": "--group-regex", "count": 23}
    assert (len(scans), scans.leaked, scans.facts["left_out"]["trained_on"]) == (45, None, 3)
    samples = read_data(folder, classes=model.classes).samples  # the evaluation recognizes these very scans
    recalibrated = replace(trained, history=[{"data": scans.facts}])
    assert recalibrated.was_recalibrated_on(samples, stored(folder, model).digests, model.classes)


def test_training_patients_are_known_in_any_folder_by_the_key_of_the_run(
    predictor: Predictor, model: EvaluatedModel, folder: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    pseudonyms = Pseudonyms()
    pseudonyms.save(run.patients_key_file)
    trained = replace(
        model,
        run=run,
        digests={"train": frozenset({"of another image"})},
        data={"patients": {"origin": "labels file"}},
        data_root=tmp_path,
        training_patients=frozenset({pseudonyms.of("patient", "p3")}),
    )
    rows = [f"{name}/{number}.png,{name},p{number}" for name, count in COUNTS.items() for number in range(count)]
    labels = folder / "labels.csv"
    labels.write_text("\n".join(["path,label,patient", *rows]) + "\n", encoding="utf-8")
    scans, lines = read(predictor, trained, folder, labels_file=labels)
    assert "left out: 3 scans that the model was trained on" in lines
    assert (len(scans), scans.facts["patients"]) == (45, {"origin": "labels file", "count": 23})


def test_score_of_a_patient_comes_from_one_series(predictor: Predictor, model: EvaluatedModel, folder: Path) -> None:
    rows = [
        f"{name}/{number}.png,{name},{name}{number // 2},{number % 2}"
        for name, count in COUNTS.items()
        for number in range(count)
    ]
    labels = folder / "labels.csv"
    labels.write_text("\n".join(["path,label,patient,series", *rows]) + "\n", encoding="utf-8")
    scans, lines = read(predictor, model, folder, labels_file=labels)
    assert scans.chosen is not None
    assert (len(scans), int(scans.chosen.used.sum())) == (48, 24)
    words = "one series of each patient is used: left out 24 slices (24 of another series), 24 whole series"
    assert f"patients: {words}" in lines
    assert read(predictor, model, folder)[0].chosen is None


@pytest.mark.parametrize("own", [True, False])
def test_other_scans_of_training_patients_are_known_in_the_folder_of_the_training(
    predictor: Predictor, model: EvaluatedModel, folder: Path, tmp_path: Path, own: bool
) -> None:
    regex = r"/(\d+)\.png"
    trained = replace(
        model,
        data={"patients": {"origin": "--group-regex"}},
        data_root=folder.resolve() if own else tmp_path,
        training_patients=frozenset({"3", "4", "5", "20"}),
    )
    scans, lines = read(predictor, trained, folder, group_regex=regex)  # without them, 18 suspicious scans would remain
    text = (
        "warning: 10 scans of patients that the model was trained on: the values are fitted on the others, if there "
        "are enough; the comparison is optimistic"
    )
    if not own:  # another site numbers its patients, too
        assert (scans.leaked, text in lines) == (None, False)
        return
    assert scans.leaked is not None
    paths = [sample.path for sample in read_data(folder, classes=model.classes).samples]
    assert {path for path, leaked in zip(paths, scans.leaked, strict=True) if leaked} == {
        "normal/20.png",
        *(f"{name}/{number}.png" for name in COUNTS for number in (3, 4, 5)),
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
