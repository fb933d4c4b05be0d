"""What is passed over in a data folder: each file counted once, under what it is, and told."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

from ctonnx.prediction.inputs import is_scan, list_files
from ctonnx_train.data.folder_structure.layout import find_layout
from ctonnx_train.data.folder_structure.skipped_files import SkippedFiles, find_skipped_files

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

CLASSES = {"train/a": 2, "train/b": 2}


def skipped(top: Path) -> SkippedFiles:
    layout = find_layout(top, named=(), classes=None)
    folders = [folder for found in layout.classes.values() for folder in found]
    return find_skipped_files(
        top, layout, {folder: [file for file in list_files(folder).files if is_scan(file)] for folder in folders}
    )


def test_nothing_is_passed_over_where_every_file_is_an_image_of_a_class(images_in: ImagesIn, tmp_path: Path) -> None:
    assert skipped(images_in(tmp_path, CLASSES)) == SkippedFiles(files=0, notes=[])


def test_every_file_is_counted_once_under_what_it_is(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {f"data/{folder}": count for folder, count in CLASSES.items()} | {"data/valid": 2})
    images_in(root, {"data/other/deep": 3, "data/train/a/@eaDir": 2, "data/train/c": 0})
    for name in ("readme.md", "data/labels.csv", "data/train/b/notes.txt", "data/train/Thumbs.db", "data/.git/HEAD"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    found = skipped(root)
    assert found.notes == [
        "passed over: 3 other files ('readme.md' first)",
        "passed over: 3 files in 'data/other', which is no part of the data set ('data/other/deep/scan 0.png' first)",
        "passed over: 2 images in 'data/valid' itself, in no class folder ('data/valid/scan 0.png' first)",
        "passed over: 4 hidden or system files ('data/.git/HEAD' first)",
        "folder 'data/train/c' is empty: it is no class",
    ]
    assert found.files == 12


def test_the_marker_of_a_phantom_set_is_part_of_it(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, CLASSES)
    (root / "phantom.json").touch()
    assert skipped(root).files == 0


@pytest.mark.skipif(os.name != "posix", reason="links need a right there")
def test_hidden_link_counts_as_one_and_is_not_followed(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "set", CLASSES)
    images_in(tmp_path / "elsewhere", {"deep": 5})
    (root / ".cache").symlink_to(tmp_path / "elsewhere")
    assert skipped(root).notes == ["passed over: 1 hidden or system file ('.cache' first)"]
