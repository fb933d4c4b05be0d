"""Files of a dataset folder: images, skipped files and their notes, and the marker of phantoms."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.train.conftest import ImagesIn
from tests.train.data.conftest import paths, rejected

from ctonnx.errors import CtonnxError
from ctonnx.prediction.inputs import find_images
from ctonnx_train.data.image_folder import read_data


def test_images_deeper_in_a_class_folder_are_found(images_in: ImagesIn, tmp_path: Path) -> None:
    folder = read_data(images_in(tmp_path, {"train/a/patient 1": 2, "train/b": 1, "valid/a": 1}))
    assert folder.counts()["train"] == {"a": 2, "b": 1}


def test_files_without_an_images_name_are_skipped_and_counted(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 1, "train/b": 1, "valid/a": 1})
    for name in ("train/a/notes.txt", "train/b/scan.nii", "valid/a/inner/Thumbs.db", "labels.csv"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    folder = read_data(root)
    assert folder.passed_over == 4
    assert folder.notes == (
        "skipped: 3 other files ('labels.csv' first)",
        "skipped: 1 hidden or system file ('valid/a/inner/Thumbs.db' first)",
    )
    assert len(paths(folder)) == 3


@pytest.mark.parametrize(
    "hidden",
    [
        "train/a/._scan 0.png",
        "train/a/.ipynb_checkpoints/scan 0.png",
        "train/.c/scan.png",
        "train/a/ehthumbs.db",
        "train/a/@eaDir/scan 0.png/SYNOPHOTO_THUMB_XL.jpg",
        "$RECYCLE.BIN/scan.png",
        "train/__MACOSX/scan.png",
        "#recycle/a/scan.png",
        "train/System Volume Information/scan.png",
        "train/b/lost+found/scan.png",
    ],
)
def test_hidden_and_system_files_are_neither_images_nor_classes_and_are_counted(
    hidden: str, images_in: ImagesIn, tmp_path: Path
) -> None:
    root = images_in(tmp_path, {"train/a": 1, "train/b": 1, "valid/a": 1})
    without = read_data(root)
    (root / hidden).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / "train" / "a" / "scan 0.png", root / hidden)
    folder = read_data(root)
    assert replace(folder, passed_over=0, notes=()) == without
    assert folder.notes == (f"skipped: 1 hidden or system file ('{hidden}' first)",)


def test_an_empty_folder_is_not_a_class_and_is_reported(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 1, "train/b": 1, "valid/a": 1, "valid/empty": 0})
    folder = read_data(root)
    assert folder.classes == ("a", "b")
    assert folder.notes == ("folder 'valid/empty' is empty: it is not a class",)


@pytest.mark.parametrize("place", [".", "Data"])
def test_a_marker_makes_the_dataset_synthetic(place: str, images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path / place, {"train/a": 1, "train/b": 1, "valid/a": 1})
    (tmp_path / "phantom.json").write_text(json.dumps({"synthetic": True}), encoding="utf-8")
    assert read_data(tmp_path).synthetic
    shutil.move(tmp_path / "phantom.json", tmp_path / place / "phantom.json")
    assert read_data(tmp_path).synthetic


@pytest.mark.parametrize("text", ["{}", "[]", "not JSON", '{"synthetic": false}'])
def test_another_marker_does_not_make_the_dataset_synthetic(text: str, images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 1, "train/b": 1, "valid/a": 1})
    (root / "phantom.json").write_text(text, encoding="utf-8")
    assert not read_data(root).synthetic


def test_a_class_folder_without_images_is_rejected_by_name(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 2, "train/b": 2})
    (root / "train/c").mkdir()
    (root / "train/c/1.nii").write_bytes(b"volume")
    rejected(
        root,
        f"expected images in the class folder '{root / 'train/c'}', found 1 other file ('1.nii' first); "
        "convert them to PNG, or move the folder out of the dataset",
    )


def test_images_outside_class_folders_are_counted_by_folder(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 2, "train/b": 2, "valid": 5, "train": 1, ".": 3, "extra/a": 4})
    folder = read_data(root)
    assert folder.passed_over == 13
    assert folder.notes == (
        f"skipped: 3 images in '{root}' itself, in no class folder ('scan 0.png' first)",
        "skipped: 4 files in 'extra', which is not part of the dataset ('extra/a/scan 0.png' first)",
        "skipped: 1 image in 'train' itself, in no class folder ('train/scan 0.png' first)",
        "skipped: 5 images in 'valid' itself, in no class folder ('valid/scan 0.png' first)",
    )
    assert folder.counts()["train"] == {"a": 2, "b": 2}


def test_images_with_another_or_no_suffix_are_recognized_by_their_first_bytes(
    images_in: ImagesIn, tmp_path: Path
) -> None:
    root = images_in(tmp_path, {"train/a": 1, "train/b": 1})
    (root / "train/a/IM0001").write_bytes(b"\0" * 128 + b"DICM")
    (root / "train/a/1.2.840.113619.7").write_bytes(b"\0" * 128 + b"DICM")
    shutil.copy(root / "train/b/scan 0.png", root / "train/b/scan.doc")
    (root / "train/b/SCAN 1.PNG").write_bytes(b"not a PNG, which the training will name")
    (root / "train/b/notes").write_text("no image", encoding="utf-8")
    folder = read_data(root)
    assert paths(folder) == [
        "train/a/1.2.840.113619.7",
        "train/a/IM0001",
        "train/a/scan 0.png",
        "train/b/SCAN 1.PNG",
        "train/b/scan 0.png",
        "train/b/scan.doc",
    ]
    assert folder.notes == ("skipped: 1 other file ('train/b/notes' first)",)


def test_training_reads_the_files_that_prediction_reads(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a/p1/s1": 2, "train/a/@eaDir": 1, "train/b": 1, "train/b/.hidden": 1})
    (root / "train/b/again").symlink_to(root / "train/b")  # a circle
    (root / "train/a/IM1").write_bytes(b"\0" * 128 + b"DICM")
    folder = read_data(root)
    assert [str(root / path) for path in paths(folder)] == find_images([str(root)])


def test_folder_that_cannot_be_read_is_named(
    images_in: ImagesIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = images_in(tmp_path, {"a": 1, "b": 1, "c": 1})
    scandir = os.scandir

    def closed(folder: Any) -> Any:
        if os.fspath(folder) == str(root / "c"):
            raise PermissionError(13, "Permission denied", os.fspath(folder))
        return scandir(folder)

    monkeypatch.setattr("os.scandir", closed)
    with pytest.raises(CtonnxError, match=f"^expected to read every folder, could not open '{root / 'c'}' "):
        read_data(root)
