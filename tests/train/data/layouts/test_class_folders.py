"""Class folders: images of one class to any depth, or an error if they contain splits, classes or masks."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.train.data.conftest import rejected

from ctonnx.errors import DataError
from ctonnx_train.data.image_folder import read_data


@pytest.mark.parametrize(
    ("folders", "message"),
    [
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
            ("normal", "tumour", "external/normal", "external/tumour"),
            "expected images of one class in '{root}/external', found folders of several ('normal', 'tumour'); move it "
            "out of the dataset, or give it the name of a split, such as 'test', next to a 'train' folder",
        ),
    ],
)
def test_class_folder_with_splits_or_classes_is_rejected(
    folders: tuple[str, ...], message: str, laid_out: Callable[..., Path]
) -> None:
    root = laid_out(*folders)
    rejected(root, message.replace("{root}", str(root)))


def test_class_folder_may_contain_patients_and_series_to_any_depth(laid_out: Callable[..., Path]) -> None:
    root = laid_out("a/patient 1/series 2/images", "a/patient 1/test", "a/patient 1/retest", "b/patient 2", "b")
    assert read_data(root).counts()["train"] == {"a": 3, "b": 2}


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
    assert read_data(root, classes=[top.lower().replace("_", " ") for top in tops]).samples


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


def test_numbered_folders_in_numbered_classes_are_not_classes(laid_out: Callable[..., Path]) -> None:
    assert read_data(laid_out("0/0", "0/1", "1/0", "1/1")).classes == ("0", "1")


def test_short_names_in_class_folders_are_splits(laid_out: Callable[..., Path]) -> None:
    root = laid_out("normal/tr", "normal/te", "tumour/tr", "tumour/te")
    with pytest.raises(DataError, match="found the folder 'te', which is named like a split"):
        read_data(root)
