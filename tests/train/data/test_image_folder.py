"""Reading a data folder: layouts, classes, which splits it lacks, and what is passed over."""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from ctonnx.errors import CtonnxError, DataError
from ctonnx.prediction.inputs import find_images
from ctonnx_train.data.dataset import Dataset
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.splits import Sample, Split

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

CHEST_CT = Path(
    os.environ.get("CTONNX_CHEST_CT", Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "chest-ct")
)


def paths(folder: Dataset) -> list[str]:
    return [sample.path for sample in folder.samples]


def refused(root: Path, message: str, **options: Any) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read_data(root, **options)


def test_split_folders_are_read_as_they_stand(images_in: ImagesIn, tmp_path: Path) -> None:
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
        skipped=0,
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


def test_two_folders_for_one_split_are_read_both(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1, "validation/a": 1})
    assert read_data(root).counts()["valid"] == {"a": 2, "b": 1}


@pytest.mark.parametrize("inner", ["Data", "data", "DATA"])
def test_a_data_folder_inside_is_entered(inner: str, images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path / inner, {"train/a": 1, "train/b": 1, "valid/a": 1})
    folder = read_data(tmp_path)
    assert folder.root == tmp_path / inner
    assert paths(folder) == ["train/a/scan 0.png", "train/b/scan 0.png", "valid/a/scan 0.png"]


def test_a_data_folder_of_class_folders_alone_is_entered_too(images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path / "Data", {"a": 3, "b": 3})
    folder = read_data(tmp_path)
    assert folder.root == tmp_path / "Data"
    assert folder.classes == ("a", "b")


def test_a_data_folder_beside_split_folders_is_left_alone(images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path, {"train/a": 1, "train/b": 1, "valid/a": 1, "Data/train/c": 1})
    assert read_data(tmp_path).root == tmp_path


def test_class_folders_alone_are_train_to_take_valid_and_test_from(images_in: ImagesIn, tmp_path: Path) -> None:
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
def test_beside_split_folders_valid_is_to_be_taken_from_train_and_test_is_left_alone(
    also: dict[str, int], to_make: tuple[Split, ...], images_in: ImagesIn, tmp_path: Path
) -> None:
    folder = read_data(images_in(tmp_path, {"train/a": 2, "train/b": 2} | also))
    assert folder.to_make == to_make
    assert folder.counts()["train"] == {"a": 2, "b": 2}
    assert all(not folder.splits[split] for split in to_make)


def test_a_class_that_a_split_lacks_keeps_its_index(images_in: ImagesIn, tmp_path: Path) -> None:
    counts = {"train/a": 1, "train/b": 1, "train/c": 1, "valid/c": 1, "test/b": 1, "test/c": 1}
    folder = read_data(images_in(tmp_path, counts))
    assert folder.splits["valid"] == (Sample("valid/c/scan 0.png", 2),)
    assert folder.splits["test"] == (Sample("test/b/scan 0.png", 1), Sample("test/c/scan 0.png", 2))


def test_a_class_that_train_lacks_is_refused_by_name(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 1, "train/b": 1, "valid/a": 1, "valid/C.c": 1, "test/d": 1})
    refused(
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


def test_a_class_name_for_a_folder_that_is_not_there_is_refused(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 1, "train/B": 1, "valid/a": 1})
    refused(
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


def test_images_deeper_in_a_class_folder_are_found(images_in: ImagesIn, tmp_path: Path) -> None:
    folder = read_data(images_in(tmp_path, {"train/a/patient 1": 2, "train/b": 1, "valid/a": 1}))
    assert folder.counts()["train"] == {"a": 2, "b": 1}


def test_files_without_an_images_name_are_passed_over_and_counted(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 1, "train/b": 1, "valid/a": 1})
    for name in ("train/a/notes.txt", "train/b/scan.nii", "valid/a/inner/Thumbs.db", "labels.csv"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    folder = read_data(root)
    assert folder.skipped == 4
    assert folder.notes == (
        "passed over: 3 other files ('labels.csv' first)",
        "passed over: 1 hidden or system file ('valid/a/inner/Thumbs.db' first)",
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
def test_what_is_hidden_or_left_by_a_system_is_no_scan_and_no_class_and_is_counted(
    hidden: str, images_in: ImagesIn, tmp_path: Path
) -> None:
    root = images_in(tmp_path, {"train/a": 1, "train/b": 1, "valid/a": 1})
    without = read_data(root)
    (root / hidden).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / "train" / "a" / "scan 0.png", root / hidden)
    folder = read_data(root)
    assert replace(folder, skipped=0, notes=()) == without
    assert folder.notes == (f"passed over: 1 hidden or system file ('{hidden}' first)",)


def test_an_empty_folder_is_no_class_and_is_told(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 1, "train/b": 1, "valid/a": 1, "valid/empty": 0})
    folder = read_data(root)
    assert folder.classes == ("a", "b")
    assert folder.notes == ("folder 'valid/empty' is empty: it is no class",)


@pytest.mark.parametrize(
    ("name", "found"), [("", "nothing"), ("set.npz", "nothing"), ("set.csv", "another file"), ("set", "another file")]
)
def test_what_is_neither_a_folder_nor_a_medmnist_file_is_refused(name: str, found: str, tmp_path: Path) -> None:
    data = tmp_path / (name or "data")
    if found != "nothing":
        data.touch()
    refused(data, f"expected a data folder or a MedMNIST .npz file at '{data}', found {found}; check the path")


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ({}, "none"),
        ({"a": 0, "b": 0}, "none (folder 'a' is empty: it is no class) (folder 'b' is empty: it is no class)"),
        ({"a": 5}, "'a'"),
        ({"train/a": 5, "valid/b": 1}, "'a'"),
        ({"train": 2}, "none (passed over: 2 images in 'train' itself, in no class folder ('train/scan 0.png' first))"),
    ],
)
def test_fewer_than_two_classes_are_refused(
    counts: dict[str, int], found: str, images_in: ImagesIn, tmp_path: Path
) -> None:
    refused(
        images_in(tmp_path, counts),
        f"expected two or more class folders with images in '{tmp_path}', found {found}; "
        "lay the images out as DATA/train/CLASS/*.png or DATA/CLASS/*.png",
    )


def test_split_folders_without_train_are_refused(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"test/a": 1, "val/b": 1})
    refused(root, f"expected a 'train' folder in '{root}' beside '{root / 'test'}', '{root / 'val'}', found none")


def test_classes_of_a_model_give_the_labels_and_neither_train_nor_all_of_them_are_needed(
    images_in: ImagesIn, tmp_path: Path
) -> None:
    root = images_in(tmp_path, {"test/normal": 1, "test/Mass": 1})
    folder = read_data(root, class_names={"Mass": "tumour"}, classes=("tumour", "nodule", "normal"))
    assert folder.classes == ("tumour", "nodule", "normal")
    assert folder.splits["test"] == (Sample("test/Mass/scan 0.png", 0), Sample("test/normal/scan 0.png", 2))


def test_class_folders_alone_may_be_one_class_where_a_model_knows_it(images_in: ImagesIn, tmp_path: Path) -> None:
    folder = read_data(images_in(tmp_path, {"normal": 2}), classes=("mass", "normal"))
    assert folder.counts()["train"] == {"mass": 0, "normal": 2}


def test_a_class_that_the_model_does_not_know_is_refused_by_name(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"test/a": 1, "test/Other.one": 1})
    refused(
        root,
        f"expected only the model's classes ('a', 'b') in every split of '{root}', found 'other one' too; "
        "rename the folder or use --class-name OLD=NEW",
        classes=("a", "b"),
    )


@pytest.mark.parametrize("place", [".", "Data"])
def test_a_marker_says_that_the_set_is_synthetic(place: str, images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path / place, {"train/a": 1, "train/b": 1, "valid/a": 1})
    (tmp_path / "phantom.json").write_text(json.dumps({"synthetic": True}), encoding="utf-8")
    assert read_data(tmp_path).synthetic
    shutil.move(tmp_path / "phantom.json", tmp_path / place / "phantom.json")
    assert read_data(tmp_path).synthetic


@pytest.mark.parametrize("text", ["{}", "[]", "not JSON", '{"synthetic": false}'])
def test_a_marker_that_does_not_say_so_is_none(text: str, images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 1, "train/b": 1, "valid/a": 1})
    (root / "phantom.json").write_text(text, encoding="utf-8")
    assert not read_data(root).synthetic


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


def test_a_class_folder_without_images_is_named_and_not_dropped(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 2, "train/b": 2})
    (root / "train/c").mkdir()
    (root / "train/c/1.nii").write_bytes(b"volume")
    refused(
        root,
        f"expected images in the class folder '{root / 'train/c'}', found 1 other file ('1.nii' first); "
        "convert them to PNG, or move the folder out of the data set",
    )


def test_a_folder_around_a_data_set_is_answered_with_the_data_set(images_in: ImagesIn, tmp_path: Path) -> None:
    images_in(tmp_path, {"chest/train/a": 1, "chest/train/b": 1, "chest/valid/a": 1})
    refused(
        tmp_path,
        f"expected two or more class folders with images in '{tmp_path}', found 'chest'; "
        f"did you mean '{tmp_path / 'chest'}'?",
    )


def test_images_in_no_class_folder_are_counted_where_they_lie(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/a": 2, "train/b": 2, "valid": 5, "train": 1, ".": 3, "extra/a": 4})
    folder = read_data(root)
    assert folder.skipped == 13
    assert folder.notes == (
        f"passed over: 3 images in '{root}' itself, in no class folder ('scan 0.png' first)",
        "passed over: 4 files in 'extra', which is no part of the data set ('extra/a/scan 0.png' first)",
        "passed over: 1 image in 'train' itself, in no class folder ('train/scan 0.png' first)",
        "passed over: 5 images in 'valid' itself, in no class folder ('valid/scan 0.png' first)",
    )
    assert folder.counts()["train"] == {"a": 2, "b": 2}


def test_images_are_known_by_their_beginning_where_their_name_has_no_ending_or_another(
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
    assert folder.notes == ("passed over: 1 other file ('train/b/notes' first)",)


def test_training_takes_the_files_that_prediction_takes(images_in: ImagesIn, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (("ca+", "ca-", "ca"), "'ca' and 'ca-', which differ in a minus alone"),
        (("A1", "a1", "b"), "'A1' and 'a1', which are both read as the class 'a1'"),
        (("a b", "a_b", "c"), "'a b' and 'a_b', which are both read as the class 'a b'"),
        (
            ("cafe\u0301", "caf\xe9", "b"),
            "'cafe\\u0301' and 'caf\\xe9', which are one name in two encodings",
        ),
    ],
)
def test_two_folders_of_a_split_that_would_be_one_class_are_refused_by_name(
    folders: tuple[str, ...], found: str, images_in: ImagesIn, tmp_path: Path
) -> None:
    root = images_in(tmp_path, {f"train/{name}": 1 for name in folders})
    refused(
        root,
        f"expected class folders in '{root}' whose names tell them apart, found {found}; rename one, or say which "
        "class each is: --class-name 'FOLDER=NAME'",
    )


def test_folders_that_look_alike_are_told_apart_or_joined_by_class_name(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path, {"train/ca": 1, "train/ca-": 2, "train/A1": 1, "train/a1": 1})
    folder = read_data(root, class_names={"ca-": "ca negative", "A1": "a1"})
    assert folder.counts()["train"] == {"a1": 2, "ca": 1, "ca negative": 2}
    assert read_data(root, classes=("a1", "ca", "ca-"), known=("ca-", "A1")).counts()["train"]["ca-"] == 2


@pytest.mark.parametrize("folders", [("HER2+", "HER2-"), ("-1", "0", "1"), ("0.5", "0-5", "9"), ("<5", ">5")])
def test_signs_and_points_that_tell_classes_apart_are_kept(
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
