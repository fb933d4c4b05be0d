"""Skipped files of a dataset folder: each is counted once by its kind, and reported."""

import os
from pathlib import Path

import pytest
from tests.train.conftest import ImagesIn

from ctonnx.prediction.inputs import is_scan, list_files
from ctonnx_train.data.layouts.layout import find_layout
from ctonnx_train.data.layouts.skipped_files import SkippedFiles, find_skipped_files

CLASSES = {"train/a": 2, "train/b": 2}


def skipped(top: Path) -> SkippedFiles:
    layout = find_layout(top, named=(), classes=None)
    folders = [folder for found in layout.classes.values() for folder in found]
    return find_skipped_files(
        top, layout, {folder: [file for file in list_files(folder).files if is_scan(file)] for folder in folders}
    )


def test_nothing_is_skipped_if_every_file_is_an_image_of_a_class(images_in: ImagesIn, tmp_path: Path) -> None:
    assert skipped(images_in(tmp_path, CLASSES)) == SkippedFiles(files=0, notes=[])


def test_every_file_is_counted_once_by_its_kind(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {f"data/{folder}": count for folder, count in CLASSES.items()} | {"data/valid": 2})
    images_in(root, {"data/other/deep": 3, "data/train/a/@eaDir": 2, "data/train/c": 0})
    for name in ("readme.md", "data/labels.csv", "data/train/b/notes.txt", "data/train/Thumbs.db", "data/.git/HEAD"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    found = skipped(root)
    assert found.notes == [
        "skipped: 3 other files ('readme.md' first)",
        "skipped: 3 files in 'data/other', which is not part of the dataset ('data/other/deep/scan 0.png' first)",
        "skipped: 2 images in 'data/valid' itself, in no class folder ('data/valid/scan 0.png' first)",
        "skipped: 4 hidden or system files ('data/.git/HEAD' first)",
        "folder 'data/train/c' is empty: it is not a class",
    ]
    assert found.files == 12


def test_marker_of_a_phantom_set_is_not_skipped(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, CLASSES)
    (root / "phantom.json").touch()
    assert skipped(root).files == 0


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege there")
def test_hidden_link_counts_as_one_and_is_not_followed(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "set", CLASSES)
    images_in(tmp_path / "elsewhere", {"deep": 5})
    (root / ".cache").symlink_to(tmp_path / "elsewhere")
    assert skipped(root).notes == ["skipped: 1 hidden or system file ('.cache' first)"]
