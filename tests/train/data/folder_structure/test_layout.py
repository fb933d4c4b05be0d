"""Layouts: splits, wrappers and classes, or an error that names the folders of an ambiguous layout."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.train.conftest import ImagesIn
from tests.train.data.conftest import rejected

from ctonnx.errors import DataError
from ctonnx_train.data.folder_structure.layout import find_layout, folders_in
from ctonnx_train.data.image_folder import read_data


@pytest.fixture
def laid_out(images_in: ImagesIn, tmp_path: Path) -> Callable[..., Path]:
    """A function that puts an image into each of the folders and returns their root."""
    return lambda *folders: images_in(tmp_path / "data", dict.fromkeys(folders, 1))


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


def test_class_folder_may_contain_patients_and_series_to_any_depth(laid_out: Callable[..., Path]) -> None:
    root = laid_out("a/patient 1/series 2/images", "a/patient 1/test", "a/patient 1/retest", "b/patient 2", "b")
    assert read_data(root).counts()["train"] == {"a": 3, "b": 2}


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
            ("normal/train", "normal/test", "tumour/train", "tumour/test"),
            "expected images of one split in the class folder '{root}/normal', found the folder 'test', which is named "
            "like a split; lay the images out as DATA/train/normal, or rename the folder if it is not a split",
        ),
        (
            ("train/normal/images/val_set", "train/normal/images/training", "train/tumour"),
            "expected images of one split in the class folder '{root}/train/normal', found the folder "
            "'images/training', which is named like a split; lay the images out as DATA/train/normal, or rename the "
            "folder if it is not a split",
        ),
        (
            ("hospital A/train/a", "hospital A/test/a", "hospital B/train/a"),
            "expected images of one split in the class folder '{root}/hospital A', found the folder 'test', which is "
            "named like a split; did you mean '{root}/hospital A'?",
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
        (
            ("normal", "tumour", "external/normal", "external/tumour"),
            "expected images of one class in '{root}/external', found folders of several ('normal', 'tumour'); move it "
            "out of the dataset, or give it the name of a split, such as 'test', next to a 'train' folder",
        ),
    ],
)
def test_folders_that_may_be_splits_are_never_read_as_classes(
    folders: tuple[str, ...], message: str, laid_out: Callable[..., Path]
) -> None:
    root = laid_out(*folders)
    rejected(root, message.replace("{root}", str(root)))


@pytest.mark.parametrize(
    "outer",
    [
        ("训练集", "测试集"),
        ("seen", "unseen"),
        ("internal", "external"),
        ("hospital1", "hospital2"),
        ("A", "B"),
        ("set_a", "set_b"),
        ("Split A", "Split B"),
        ("run_1", "run_2", "run_3"),
        ("1", "2", "3"),
        ("train/A", "train/B"),
        ("A/images", "B/images"),
    ],
)
def test_same_classes_in_each_class_are_an_error_that_names_both_levels(
    outer: tuple[str, ...], laid_out: Callable[..., Path]
) -> None:
    root = laid_out(*(f"{folder}/{name}" for folder in outer for name in ("normal", "cancer")))
    tops = sorted(folder.removeprefix("train/").removesuffix("/images") for folder in outer)
    place = root / "train" if outer[0].startswith("train/") else root
    names = ", ".join(f"'{name}'" for name in tops)
    rejected(
        root,
        f"expected folders DATA/train/CLASS or DATA/CLASS in '{place}', found the folders 'cancer', 'normal' in each "
        f"of {names}; name the outer folders as splits, 'train', 'valid' and 'test', or pass one of them as the "
        f"dataset; if they are the classes, name them: --class-name '{tops[0]}=NAME'",
    )
    named = {name: f"class {name}" for name in tops}
    assert read_data(root, class_names=named).classes == tuple(named.values())
    for name in tops:
        assert len(read_data(root, class_names={name: f"class {name}"}).classes) == len(tops)
    assert shape(root, classes=[top.lower().replace("_", " ") for top in tops])


def test_masks_next_to_images_are_rejected(laid_out: Callable[..., Path]) -> None:
    root = laid_out("COVID/images", "COVID/masks", "Normal/images", "Normal/masks")
    message = (
        f"expected folders DATA/train/CLASS or DATA/CLASS in '{root}', found the folders 'images', 'masks' in each of "
        "'COVID', 'Normal'; move 'masks' out of the dataset, as masks would be trained on; if all are images of the "
        "class, name it: --class-name 'COVID=NAME'"
    )
    rejected(root, message)
    rejected(root, message, classes=("covid", "normal"))
    assert read_data(root, class_names={"COVID": "covid"}).classes == ("covid", "normal")


@pytest.mark.parametrize(
    "inner",
    [("p0", "p1"), ("1", "2"), ("patient 1", "patient 2"), ("series_01", "series_02"), ("images",), ("normal", "p1")],
)
def test_patients_and_series_with_the_same_names_in_each_class_are_not_classes(
    inner: tuple[str, ...], laid_out: Callable[..., Path]
) -> None:
    assert read_data(laid_out(*(f"{top}/{name}" for top in "ab" for name in inner))).classes == ("a", "b")


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


def test_short_names_in_class_folders_are_splits_unless_the_user_names_them_as_classes(
    laid_out: Callable[..., Path],
) -> None:
    root = laid_out("normal/tr", "normal/te", "tumour/tr", "tumour/te")
    with pytest.raises(DataError, match="found the folder 'te', which is named like a split"):
        read_data(root)
    assert shape(laid_out("tr", "te"), named={"tr"})["train"] == ["normal", "te", "tr", "tumour"]


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
