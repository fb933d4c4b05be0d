"""Classes of a dataset folder: canonical names, renamed folders, classes of a model, and names too similar."""

from pathlib import Path

import pytest
from tests.train.conftest import ImagesIn
from tests.train.data.conftest import rejected

from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.splits import Sample


def test_a_class_that_a_split_lacks_keeps_its_index(images_in: ImagesIn, tmp_path: Path) -> None:
    counts = {"train/a": 1, "train/b": 1, "train/c": 1, "valid/c": 1, "test/b": 1, "test/c": 1}
    folder = read_data(images_in(tmp_path, counts))
    assert folder.splits["valid"] == (Sample("valid/c/scan 0.png", 2),)
    assert folder.splits["test"] == (Sample("test/b/scan 0.png", 1), Sample("test/c/scan 0.png", 2))


def test_a_class_that_train_lacks_is_rejected_by_name(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 1, "train/b": 1, "valid/a": 1, "valid/C.c": 1, "test/d": 1})
    rejected(
        root,
        f"expected only the training folder's classes ('a', 'b') in every split of '{root}', found 'c c', 'd' too; "
        "rename the folder or use --class-name OLD=NEW",
    )


def test_a_class_name_renames_a_folder_in_every_split(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 1, "train/b": 1, "valid/a": 1, "valid/C.c": 1})
    folder = read_data(root, class_names={"C.c": "b", "a": "Air Space"})
    assert folder.classes == ("Air Space", "b")
    assert folder.folder_classes == {"a": "Air Space", "b": "b", "C.c": "b"}
    assert folder.counts()["valid"] == {"Air Space": 1, "b": 1}


def test_a_class_name_for_a_missing_folder_is_rejected(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 1, "train/B": 1, "valid/a": 1})
    rejected(
        root,
        f"expected a class folder named 'b' in '{root}', found 'B', 'a'; check --class-name",
        class_names={"b": "x", "c": "y"},
    )


def test_two_folders_may_be_one_class(images_in: ImagesIn, tmp_path: Path) -> None:
    long = "adenocarcinoma_left.lower.lobe_T2_N0_M0_Ib"
    counts = {f"train/{long}": 2, "train/adenocarcinoma": 1, "train/normal": 1, "valid/Adenocarcinoma": 1}
    folder = read_data(images_in(tmp_path, counts))
    assert folder.classes == ("adenocarcinoma", "normal")
    assert folder.counts()["train"] == {"adenocarcinoma": 3, "normal": 1}
    assert folder.counts()["valid"] == {"adenocarcinoma": 1, "normal": 0}


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ({}, "none"),
        ({"a": 0, "b": 0}, "none (folder 'a' is empty: it is not a class) (folder 'b' is empty: it is not a class)"),
        ({"a": 5}, "'a'"),
        ({"train/a": 5, "valid/b": 1}, "'a'"),
        ({"train": 2}, "none (skipped: 2 images in 'train' itself, in no class folder ('train/scan 0.png' first))"),
    ],
)
def test_fewer_than_two_classes_are_rejected(
    counts: dict[str, int], found: str, images_in: ImagesIn, tmp_path: Path
) -> None:
    rejected(
        images_in(tmp_path, counts),
        f"expected two or more class folders with images in '{tmp_path}', found {found}; "
        "lay the images out as DATA/train/CLASS/*.png or DATA/CLASS/*.png",
    )


def test_classes_of_a_model_define_the_labels_without_train_or_all_classes(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"test/normal": 1, "test/Mass": 1})
    folder = read_data(root, class_names={"Mass": "tumour"}, classes=("tumour", "nodule", "normal"))
    assert folder.classes == ("tumour", "nodule", "normal")
    assert folder.splits["test"] == (Sample("test/Mass/scan 0.png", 0), Sample("test/normal/scan 0.png", 2))


def test_one_class_folder_is_enough_if_the_model_knows_the_class(images_in: ImagesIn, tmp_path: Path) -> None:
    folder = read_data(images_in(tmp_path, {"normal": 2}), classes=("mass", "normal"))
    assert folder.counts()["train"] == {"mass": 0, "normal": 2}


def test_a_class_that_the_model_does_not_know_is_rejected_by_name(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"test/a": 1, "test/Other.one": 1})
    rejected(
        root,
        f"expected only the model's classes ('a', 'b') in every split of '{root}', found 'other one' too; "
        "rename the folder or use --class-name OLD=NEW; for other classes: ctonnx evaluate --external",
        classes=("a", "b"),
    )


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (("ca+", "ca-", "ca"), "'ca' and 'ca-', which differ only in a minus"),
        (("A1", "a1", "b"), "'A1' and 'a1', which are both read as the class 'a1'"),
        (("a b", "a_b", "c"), "'a b' and 'a_b', which are both read as the class 'a b'"),
        (
            ("cafe\u0301", "caf\xe9", "b"),
            "'cafe\\u0301' and 'caf\\xe9', which are one name in two encodings",
        ),
    ],
)
def test_two_folders_of_a_split_that_would_be_one_class_are_rejected_by_name(
    folders: tuple[str, ...], found: str, images_in: ImagesIn, tmp_path: Path
) -> None:
    root = images_in(tmp_path, {f"train/{name}": 1 for name in folders})
    rejected(
        root,
        f"expected class folders with distinct names in '{root}', found {found}; rename one, or give each its class: "
        "--class-name 'FOLDER=NAME'",
    )


def test_similar_folder_names_are_distinguished_or_joined_by_class_name(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/ca": 1, "train/ca-": 2, "train/A1": 1, "train/a1": 1})
    folder = read_data(root, class_names={"ca-": "ca negative", "A1": "a1"})
    assert folder.counts()["train"] == {"a1": 2, "ca": 1, "ca negative": 2}
    assert read_data(root, classes=("a1", "ca", "ca-"), known=("ca-", "A1")).counts()["train"]["ca-"] == 2


@pytest.mark.parametrize("folders", [("HER2+", "HER2-"), ("-1", "0", "1"), ("0.5", "0-5", "9"), ("<5", ">5")])
def test_signs_and_points_that_distinguish_classes_are_kept(
    folders: tuple[str, ...], images_in: ImagesIn, tmp_path: Path
) -> None:
    root = images_in(tmp_path, {f"{split}/{name}": 1 for split in ("train", "valid") for name in folders})
    folder = read_data(root)
    assert len(folder.classes) == len(folders)
    assert set(folder.counts()["valid"].values()) == {1}


def test_spellings_of_one_class_in_different_splits_are_one_class(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/Caf\xe9_au": 1, "train/b": 1, "valid/cafe\u0301 AU": 1, "test/B.": 1})
    folder = read_data(root)
    assert folder.classes == ("b", "caf\xe9 au")
    assert folder.counts() == {
        "train": {"b": 1, "caf\xe9 au": 1},
        "valid": {"b": 0, "caf\xe9 au": 1},
        "test": {"b": 1, "caf\xe9 au": 0},
    }
