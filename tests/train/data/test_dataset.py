"""A dataset before its images are read: its counts, names that it rejects, and its description."""

import re
from pathlib import Path

import pytest
from tests.train.conftest import ImagesIn

from ctonnx.errors import DataError
from ctonnx_train.data.dataset import Dataset, check_class_names, describe
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.splits import Sample

DATA = Dataset(
    root=Path("scans"),
    classes=("mass", "normal"),
    folder_classes={"Mass": "mass", "normal": "normal"},
    splits={
        "train": (Sample("train/Mass/1.png", 0), Sample("train/Mass/2.png", 0), Sample("train/normal/1.png", 1)),
        "valid": (Sample("valid/normal/1.png", 1),),
        "test": (),
    },
    to_make=(),
    passed_over=0,
    synthetic=False,
)


def test_samples_are_those_of_all_splits_in_their_order() -> None:
    assert [sample.path for sample in DATA.samples] == [
        "train/Mass/1.png",
        "train/Mass/2.png",
        "train/normal/1.png",
        "valid/normal/1.png",
    ]


def test_counts_name_every_class_in_every_split_in_the_order_of_the_labels() -> None:
    counts = DATA.counts()
    assert counts == {
        "train": {"mass": 2, "normal": 1},
        "valid": {"mass": 0, "normal": 1},
        "test": {"mass": 0, "normal": 0},
    }
    assert [(split, list(found)) for split, found in counts.items()] == [
        (split, ["mass", "normal"]) for split in ("train", "valid", "test")
    ]


def test_names_of_existing_folders_are_accepted() -> None:
    check_class_names({"Mass": "tumour"}, ["normal", "Mass"], Path("scans"))
    check_class_names({}, [], Path("scans"))


def test_name_of_a_missing_folder_is_rejected_with_the_existing_ones() -> None:
    message = "expected a class folder named 'mass' in 'scans', found 'Mass', 'normal'; check --class-name"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        check_class_names({"tumour": "b", "mass": "a", "Mass": "c"}, iter(["normal", "Mass"]), Path("scans"))


def test_description_logs_how_the_dataset_was_read(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/Bengin cases": 3, "train/malignant": 3})
    (root / "train" / "malignant" / "notes.txt").touch()
    (root / "phantom.json").write_text('{"synthetic": true}', encoding="utf-8")
    lines: list[str] = []
    describe(read_data(root), lines.append)
    assert lines == [
        "note: these images are synthetic phantoms; a model trained on them has no clinical meaning",
        "class folder 'Bengin cases' is read as 'benign'",
        "no folder for valid: taken from the training images, stratified by class, copies and groups kept together",
        "skipped: 1 other file ('train/malignant/notes.txt' first)",
    ]


def test_description_of_a_usual_dataset_is_empty(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 2, "train/b": 2, "valid/a": 1, "valid/b": 1})
    describe(read_data(root), lambda line: pytest.fail(line))
