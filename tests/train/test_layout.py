"""How folders are understood: splits, wrappers and classes, or an error that names what may be read in two ways."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from ctonnx.errors import DataError
from ctonnx_train.folders import read_data
from ctonnx_train.layout import find_layout, folders_in

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]


@pytest.fixture
def laid_out(images_in: ImagesIn, tmp_path: Path) -> Callable[..., Path]:
    """A function that puts an image into each of some folders, and returns their root."""
    return lambda *folders: images_in(tmp_path / "data", dict.fromkeys(folders, 1))


def shape(root: Path, **options: Any) -> dict[str, list[str]]:
    """Returns the class folders of each split, from the root."""
    layout = find_layout(root, **({"named": (), "classes": None} | options))
    return {
        split: [folder.relative_to(root).as_posix() for folder in found]
        for split, found in layout.classes.items()
        if found
    }


def refused(root: Path, message: str, **options: Any) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read_data(root, **options)


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


def test_folders_that_wrap_the_data_set_are_entered_and_a_circle_of_links_ends(
    laid_out: Callable[..., Path], tmp_path: Path
) -> None:
    root = laid_out("data/data/train/a")
    layout = find_layout(root, named=(), classes=None)
    assert layout.root == root / "data" / "data"
    assert layout.entered == [root, root / "data", root / "data/data", root / "data/data/train"]
    (tmp_path / "circle").mkdir()
    (tmp_path / "circle" / "data").symlink_to(tmp_path / "circle")
    assert find_layout(tmp_path / "circle", named=(), classes=None).root == tmp_path / "circle"


def test_class_folder_may_hold_patients_and_series_to_any_depth(laid_out: Callable[..., Path]) -> None:
    root = laid_out("a/patient 1/series 2/images", "a/patient 1/test", "a/patient 1/retest", "b/patient 2", "b")
    assert read_data(root).counts()["train"] == {"a": 3, "b": 2}


def test_unusual_names_are_told(laid_out: Callable[..., Path]) -> None:
    root = laid_out("train_data/a", "train_data/stress test", "val/a")
    assert find_layout(root, named=(), classes=None).notes == [
        "folder 'train_data' is read as the split 'train'",
        "folder 'val' is read as the split 'valid'",
        "folder 'train_data/stress test' is taken for a class, not for a split",
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
            "expected one division into train, valid and test in '{root}', found the folds 'cv0', 'cv1'; name one of "
            "them, as '{root}/cv0', or put those to train on into a 'train' folder, and the others into 'valid' or "
            "'test'",
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
            "expected split folders or class folders in '{root}', found 'Test cases' beside 'Malignant cases', 'Normal "
            "cases'; put the class folders into a 'train' folder, or move 'Test cases' out of the data set; if it is a "
            "class, say which: --class-name 'Test cases=NAME'",
        ),
        (
            ("set of scans/Normal cases", "set of scans/Malignant cases", "Test cases"),
            "expected split folders or class folders in '{root}', found 'Test cases' beside 'set of scans'; did you "
            "mean '{root}/set of scans'? Else put the class folders into a 'train' folder, or move 'Test cases' out of "
            "the data set; if it is a class, say which: --class-name 'Test cases=NAME'",
        ),
        (
            ("normal/train", "normal/test", "tumour/train", "tumour/test"),
            "expected images of one split in the class folder '{root}/normal', found the folder 'test', which is named "
            "as a split is; lay the images out as DATA/train/normal, or rename the folder if it is no split",
        ),
        (
            ("train/normal/images/val_set", "train/normal/images/training", "train/tumour"),
            "expected images of one split in the class folder '{root}/train/normal', found the folder "
            "'images/training', which is named as a split is; lay the images out as DATA/train/normal, or rename the "
            "folder if it is no split",
        ),
        (
            ("hospital A/train/a", "hospital A/test/a", "hospital B/train/a"),
            "expected images of one split in the class folder '{root}/hospital A', found the folder 'test', which is "
            "named as a split is; did you mean '{root}/hospital A'?",
        ),
        (
            ("train/normal", "train/tumour", "train/test"),
            "expected class folders in '{root}/train', found 'test', which is named as a split is; move it beside "
            "'train', or if it is a class, say which: --class-name 'test=NAME'",
        ),
        (
            ("train/normal", "train/fold2"),
            "expected class folders in '{root}/train', found 'fold2', which is named as a fold is; move it beside "
            "'train', or if it is a class, say which: --class-name 'fold2=NAME'",
        ),
        (
            ("covid_train", "covid_test", "normal_train", "normal_test"),
            "expected folders DATA/train/CLASS in '{root}', found the splits in the class folders' names "
            "('covid_test', 'covid_train', 'normal_test', 'normal_train'); make a folder for each split, with a folder "
            "for each class in it",
        ),
        (
            ("train_test/a", "valid/a"),
            "expected folders of one split each in '{root}', found 'train_test', whose name holds several; rename it",
        ),
        (
            ("normal", "tumour", "external/normal", "external/tumour"),
            "expected images of one class in '{root}/external', found folders of several ('normal', 'tumour'); move it "
            "out of the data set, or give it a split's name, as 'test', beside a 'train' folder",
        ),
    ],
)
def test_what_may_be_splits_is_never_taken_for_classes(
    folders: tuple[str, ...], message: str, laid_out: Callable[..., Path]
) -> None:
    root = laid_out(*folders)
    refused(root, message.replace("{root}", str(root)))


def test_folder_of_a_splits_name_is_a_class_where_the_user_says_so(laid_out: Callable[..., Path]) -> None:
    root = laid_out("test", "control")
    assert read_data(root, class_names={"test": "tested"}).classes == ("control", "tested")
    assert shape(root, named={"test"}) == {"train": ["control", "test"]}


def test_folders_beside_train_are_neither_splits_nor_classes(laid_out: Callable[..., Path]) -> None:
    assert shape(laid_out("train/a", "train/b", "a", "test_hospital", "masks")) == {"train": ["train/a", "train/b"]}


def test_model_to_evaluate_needs_no_train_folder_and_no_more_than_its_classes(laid_out: Callable[..., Path]) -> None:
    root = laid_out("test/a", "masks")
    assert shape(root, classes=("a", "b")) == {"test": ["test/a"]}
    with pytest.raises(DataError, match=r"found 'test' beside 'masks'; put the class folders into a 'train' folder"):
        find_layout(root, named=(), classes=("a", "masks"))


def test_folders_of_systems_and_hidden_ones_are_not_listed(laid_out: Callable[..., Path]) -> None:
    root = laid_out("b", "a", ".git", "@eaDir", "__MACOSX", "$RECYCLE.BIN")
    assert folders_in(root) == [root / "a", root / "b"]
