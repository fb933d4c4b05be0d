"""Reading a dataset folder: split folders, wrappers, missing splits, and paths that are not datasets."""

from pathlib import Path

import pytest
from tests.train.conftest import CHEST_CT, ImagesIn
from tests.train.data.conftest import paths, rejected

from ctonnx_train.data.dataset import Dataset
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.splits import Sample, Split


def test_split_folders_are_read(images_in: ImagesIn, tmp_path: Path) -> None:
    counts = {"train/b": 2, "train/a": 1, "valid/a": 1, "valid/b": 1, "test/b": 1}
    folder = read_data(images_in(tmp_path / "data", counts))
    assert folder == Dataset(
        root=tmp_path / "data",
        classes=("a", "b"),
        folder_classes={"a": "a", "b": "b"},
        splits={
            "train": (
                Sample("train/a/scan 0.png", 0),
                Sample("train/b/scan 0.png", 1),
                Sample("train/b/scan 1.png", 1),
            ),
            "valid": (Sample("valid/a/scan 0.png", 0), Sample("valid/b/scan 0.png", 1)),
            "test": (Sample("test/b/scan 0.png", 1),),
        },
        to_make=(),
        passed_over=0,
        synthetic=False,
    )
    assert folder.counts() == {"train": {"a": 1, "b": 2}, "valid": {"a": 1, "b": 1}, "test": {"a": 0, "b": 1}}


@pytest.mark.parametrize(
    ("train", "valid", "test"),
    [
        ("train", "val", "test"),
        ("training", "validation", "testing"),
        ("Train", "Valid", "TEST"),
        ("training_set", "validation_set", "test_set"),
        ("train_data", "val_data", "Test Images"),
        ("TrainImages", "dev", "holdout"),
        ("lung_train", "lung_val", "lung_test"),
    ],
)
def test_split_folders_have_synonyms(train: str, valid: str, test: str, images_in: ImagesIn, tmp_path: Path) -> None:
    counts = {f"{split}/{name}": count for split, count in ((train, 3), (valid, 2), (test, 1)) for name in "ab"}
    folder = read_data(images_in(tmp_path, counts))
    assert folder.counts() == {"train": {"a": 3, "b": 3}, "valid": {"a": 2, "b": 2}, "test": {"a": 1, "b": 1}}
    assert folder.to_make == ()
    assert folder.notes == tuple(
        f"folder '{name}' is read as the split '{split}'"
        for name, split in ((train, "train"), (valid, "valid"), (test, "test"))
        if name.lower() != split
    )


def test_two_folders_of_one_split_are_both_read(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1, "validation/a": 1})
    assert read_data(root).counts()["valid"] == {"a": 2, "b": 1}


@pytest.mark.parametrize("inner", ["Data", "data", "DATA"])
def test_a_data_folder_inside_is_entered(inner: str, images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path / inner, {"train/a": 1, "train/b": 1, "valid/a": 1})
    folder = read_data(tmp_path)
    assert folder.root == tmp_path / inner
    assert paths(folder) == ["train/a/scan 0.png", "train/b/scan 0.png", "valid/a/scan 0.png"]


def test_a_data_folder_with_only_class_folders_is_entered(images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path / "Data", {"a": 3, "b": 3})
    folder = read_data(tmp_path)
    assert folder.root == tmp_path / "Data"
    assert folder.classes == ("a", "b")


def test_a_data_folder_next_to_split_folders_is_not_entered(images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path, {"train/a": 1, "train/b": 1, "valid/a": 1, "Data/train/c": 1})
    assert read_data(tmp_path).root == tmp_path


def test_class_folders_without_splits_are_train(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"b": 2, "a": 1})
    folder = read_data(root)
    assert folder.to_make == ("valid", "test")
    assert folder.splits == {
        "train": (Sample("a/scan 0.png", 0), Sample("b/scan 0.png", 1), Sample("b/scan 1.png", 1)),
        "valid": (),
        "test": (),
    }


@pytest.mark.parametrize(
    ("also", "to_make"),
    [({"test/a": 1}, ("valid",)), ({}, ("valid",)), ({"valid/a": 1}, ()), ({"valid/a": 0}, ("valid",))],
    ids=["test", "train alone", "valid", "valid without images"],
)
def test_missing_valid_folder_is_to_be_made_and_a_missing_test_folder_is_not(
    also: dict[str, int], to_make: tuple[Split, ...], images_in: ImagesIn, tmp_path: Path
) -> None:
    folder = read_data(images_in(tmp_path, {"train/a": 2, "train/b": 2} | also))
    assert folder.to_make == to_make
    assert folder.counts()["train"] == {"a": 2, "b": 2}
    assert all(not folder.splits[split] for split in to_make)


@pytest.mark.parametrize(
    ("name", "found"), [("", "nothing"), ("set.npz", "nothing"), ("set.csv", "another file"), ("set", "another file")]
)
def test_path_that_is_neither_a_folder_nor_a_medmnist_file_is_rejected(name: str, found: str, tmp_path: Path) -> None:
    data = tmp_path / (name or "data")
    if found != "nothing":
        data.touch()
    advice = "name a labels file with --labels" if data.suffix == ".csv" else "check the path"
    rejected(data, f"expected a data folder or a MedMNIST .npz file at '{data}', found {found}; {advice}")


def test_split_folders_without_train_are_rejected(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"test/a": 1, "val/b": 1})
    rejected(root, f"expected a 'train' folder in '{root}' next to '{root / 'test'}', '{root / 'val'}', found none")


@pytest.mark.skipif(not CHEST_CT.is_dir(), reason=f"the public chest CT set is not at {CHEST_CT}")
def test_the_public_chest_ct_set_is_read_with_its_known_counts() -> None:
    folder = read_data(CHEST_CT)
    assert folder.classes == ("adenocarcinoma", "large cell carcinoma", "normal", "squamous cell carcinoma")
    assert [list(found.values()) for found in folder.counts().values()] == [
        [195, 115, 148, 155],
        [23, 21, 13, 15],
        [0, 0, 0, 0],
    ]
    assert not folder.synthetic


def test_error_for_a_folder_around_a_dataset_names_the_dataset(images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path, {"chest/train/a": 1, "chest/train/b": 1, "chest/valid/a": 1})
    rejected(
        tmp_path,
        f"expected two or more class folders with images in '{tmp_path}', found 'chest'; "
        f"did you mean '{tmp_path / 'chest'}'?",
    )
