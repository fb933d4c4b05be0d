"""Layouts: splits, wrappers and classes, or an error that names the folders of an ambiguous layout."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.train.data.conftest import rejected

from ctonnx.errors import DataError
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.layouts.layout import find_layout, folders_in


def shape(root: Path, **options: Any) -> dict[str, list[str]]:
    """Returns the class folders of each split, relative to the root."""
    layout = find_layout(root, **({"named": (), "classes": None} | options))
    return {
        split: [folder.relative_to(root).as_posix() for folder in found]
        for split, found in layout.classes.items()
        if found
    }


@pytest.mark.parametrize(
    ("folders", "train", "test"),
    [
        (("DATA/Data/train/a", "DATA/Data/test/a"), ["DATA/Data/train/a"], ["DATA/Data/test/a"]),
        (("data/train/a", "data/test/a"), ["data/train/a"], ["data/test/a"]),
        (("images/train/a", "images/test/a", "labels"), ["images/train/a"], ["images/test/a"]),
        (("train/images/a", "test/Images/a"), ["train/images/a"], ["test/Images/a"]),
        (("train/train/a", "test/test/a"), ["train/train/a"], ["test/test/a"]),
        (("TRAIN/a", "Testing/a"), ["TRAIN/a"], ["Testing/a"]),
        (("images/a", "images/b"), ["images/a", "images/b"], []),
        (("normal/normal", "tumour/tumour"), ["normal", "tumour"], []),
        (("testicular", "train injury"), ["testicular", "train injury"], []),
        (("0/0", "0/1", "1/0", "1/1"), ["0", "1"], []),
    ],
)
def test_splits_and_classes_are_found_in_every_usual_layout(
    folders: tuple[str, ...], train: list[str], test: list[str], laid_out: Callable[..., Path]
) -> None:
    assert shape(laid_out(*folders)) == {"train": train} | ({"test": test} if test else {})


def test_folders_that_wrap_the_dataset_are_entered_and_a_circle_of_links_ends(
    laid_out: Callable[..., Path], tmp_path: Path
) -> None:
    root = laid_out("data/data/train/a")
    layout = find_layout(root, named=(), classes=None)
    assert layout.root == root / "data" / "data"
    assert layout.entered == [root, root / "data", root / "data/data", root / "data/data/train"]
    (tmp_path / "circle").mkdir()
    (tmp_path / "circle" / "data").symlink_to(tmp_path / "circle")
    assert find_layout(tmp_path / "circle", named=(), classes=None).root == tmp_path / "circle"


def test_unusual_names_are_reported(laid_out: Callable[..., Path]) -> None:
    root = laid_out("train_data/a", "train_data/stress test", "val/a")
    assert find_layout(root, named=(), classes=None).notes == [
        "folder 'train_data' is read as the split 'train'",
        "folder 'val' is read as the split 'valid'",
        "folder 'train_data/stress test' is read as a class, not as a split",
    ]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            ("fold1/a", "fold1/b", "fold_2/a"),
            "expected one division into train, valid and test in '{root}', found the folds 'fold1', 'fold_2'; put "
            "those to train on into a 'train' folder, and the others into 'valid' or 'test'",
        ),
        (
            ("cv0/train/a", "cv0/val/a", "cv1/train/b"),
            "expected one division into train, valid and test in '{root}', found the folds 'cv0', 'cv1'; pass one of "
            "them, such as '{root}/cv0', or put those to train on into a 'train' folder, and the others into 'valid' "
            "or 'test'",
        ),
        (
            ("train1/a", "train2/a", "test1/a", "test2/a"),
            "expected one division into train, valid and test in '{root}', found the folds 'test1', 'test2', 'train1', "
            "'train2'; put those to train on into a 'train' folder, and the others into 'valid' or 'test'",
        ),
        (
            ("normal_fold1", "normal_fold2", "tumour_fold1"),
            "expected one division into train, valid and test in '{root}', found the folds 'normal_fold1', "
            "'normal_fold2'; put those to train on into a 'train' folder, and the others into 'valid' or 'test'",
        ),
        (
            ("Normal cases", "Malignant cases", "Test cases"),
            "expected split folders or class folders in '{root}', found 'Test cases' next to 'Malignant cases', "
            "'Normal cases'; put the class folders into a 'train' folder, or move 'Test cases' out of the dataset; if "
            "it is a class, name it: --class-name 'Test cases=NAME'",
        ),
        (
            ("set of scans/Normal cases", "set of scans/Malignant cases", "Test cases"),
            "expected split folders or class folders in '{root}', found 'Test cases' next to 'set of scans'; did "
            "you mean '{root}/set of scans'? Otherwise put the class folders into a 'train' folder, or move 'Test "
            "cases' out of the dataset; if it is a class, name it: --class-name 'Test cases=NAME'",
        ),
        (
            ("train/normal", "train/tumour", "train/test"),
            "expected class folders in '{root}/train', found 'test', which is named like a split; move it next to "
            "'train', or if it is a class, name it: --class-name 'test=NAME'",
        ),
        (
            ("train/normal", "train/fold2"),
            "expected class folders in '{root}/train', found 'fold2', which is named like a fold; move it next to "
            "'train', or if it is a class, name it: --class-name 'fold2=NAME'",
        ),
        (
            ("covid_train", "covid_test", "normal_train", "normal_test"),
            "expected folders DATA/train/CLASS in '{root}', found the splits in the class folders' names "
            "('covid_test', 'covid_train', 'normal_test', 'normal_train'); make a folder for each split, with a folder "
            "for each class in it",
        ),
        (
            ("train_test/a", "valid/a"),
            "expected folders of one split each in '{root}', found 'train_test', whose name contains several; "
            "rename it",
        ),
    ],
)
def test_folders_that_may_be_splits_are_never_read_as_classes(
    folders: tuple[str, ...], message: str, laid_out: Callable[..., Path]
) -> None:
    root = laid_out(*folders)
    rejected(root, message.replace("{root}", str(root)))


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (("tr/a", "te/a"), {"train": ["tr/a"], "test": ["te/a"]}),
        (("TR/a", "VA/a", "TS/a"), {"train": ["TR/a"], "valid": ["VA/a"], "test": ["TS/a"]}),
        (("train/a", "vl/a"), {"train": ["train/a"], "valid": ["vl/a"]}),
        (("train/a", "validate/a"), {"train": ["train/a"], "valid": ["validate/a"]}),
        (("images/tr/a", "images/te/a"), {"train": ["images/tr/a"], "test": ["images/te/a"]}),
        (("te", "normal"), {"train": ["normal", "te"]}),
        (("te", "ts"), {"train": ["te", "ts"]}),
        (("train/te", "train/tr"), {"train": ["train/te", "train/tr"]}),
    ],
)
def test_short_names_are_splits_if_there_are_several(
    folders: tuple[str, ...], found: dict[str, list[str]], laid_out: Callable[..., Path]
) -> None:
    assert shape(laid_out(*folders)) == found


def test_single_fold_next_to_splits_is_neither_a_split_nor_a_class(laid_out: Callable[..., Path]) -> None:
    root = laid_out("lung_train/a", "lung_test/a", "lung_fold1/a")
    assert shape(root) == {"train": ["lung_train/a"], "test": ["lung_test/a"]}


def test_short_name_is_a_class_if_the_user_names_it(laid_out: Callable[..., Path]) -> None:
    assert shape(laid_out("tr", "te", "normal"), named={"tr"}) == {"train": ["normal", "te", "tr"]}


def test_folder_with_the_name_of_a_split_is_a_class_if_the_user_names_it(laid_out: Callable[..., Path]) -> None:
    root = laid_out("test", "control")
    assert read_data(root, class_names={"test": "tested"}).classes == ("control", "tested")
    assert shape(root, named={"test"}) == {"train": ["control", "test"]}


def test_folders_next_to_train_are_neither_splits_nor_classes(laid_out: Callable[..., Path]) -> None:
    assert shape(laid_out("train/a", "train/b", "a", "test_hospital", "masks")) == {"train": ["train/a", "train/b"]}


def test_model_to_evaluate_needs_no_train_folder_and_only_its_classes(laid_out: Callable[..., Path]) -> None:
    root = laid_out("test/a", "masks")
    assert shape(root, classes=("a", "b")) == {"test": ["test/a"]}
    with pytest.raises(DataError, match=r"found 'test' next to 'masks'; put the class folders into a 'train' folder"):
        find_layout(root, named=(), classes=("a", "masks"))


def test_hidden_and_system_folders_are_not_listed(laid_out: Callable[..., Path]) -> None:
    root = laid_out("b", "a", ".git", "@eaDir", "__MACOSX", "$RECYCLE.BIN")
    assert folders_in(root) == [root / "a", root / "b"]
