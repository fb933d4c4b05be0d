"""Roles of folder names: splits under every usual name, folds, wrappers, and class names that only resemble these."""

import pytest

from ctonnx_train.data.layouts.split_names import Part, Role, is_wrapper, part_of, parts_of

TRAIN = ["train", "Train", "TRAIN", "training", "Training", "training_set", "train_data", "Train Images", "TrainImages"]
TRAIN += ["trainset", "TRAINset", "01_train", "train2017", "x_train", "imagesTr", "train (80%)", "CT_training_images"]
TRAIN += ["trainval", "train_val", "training and validation", "raw-train", "train.zip"]
VALID = [
    "valid",
    "val",
    "validation",
    "Validation_Set",
    "val_data",
    "valData",
    "dev",
    "dev_set",
    "ValidImages",
    "val-1",
]
TEST = ["test", "Testing", "test_set", "Test cases", "testset", "TestSet", "holdout", "hold-out", "Hold_Out_Set"]
TEST += ["held out", "test (1)", "independent test", "evaluation", "xtest", "imagesTs", "Test_Data", "unlabelled test"]


@pytest.mark.parametrize(
    ("name", "role"),
    [(name, role) for role, names in (("train", TRAIN), ("valid", VALID), ("test", TEST)) for name in names],
)
def test_every_spelling_of_a_split_is_recognized(name: str, role: Role) -> None:
    part = part_of(name)
    assert part is not None
    assert (part.role, part.rest) == (role, "")


@pytest.mark.parametrize(
    "name", ["fold1", "fold_0", "Fold 2", "FOLD-3", "cv3", "5fold", "kfold_1", "fold_a", "fold1_train", "train_fold_2"]
)
def test_fold_is_recognized_by_its_word_and_number(name: str) -> None:
    part = part_of(name)
    assert part is not None
    assert (part.role, part.rest, part.is_strict) == ("fold", "", True)


@pytest.mark.parametrize("name", ["split_1", "part2", "subset0", "batch 3"])
def test_numbered_part_is_a_fold_that_may_mean_something_else(name: str) -> None:
    part = part_of(name)
    assert part is not None
    assert (part.role, part.is_strict) == ("fold", False)


@pytest.mark.parametrize(
    "name",
    [
        "testicular",
        "contest",
        "attest",
        "latest",
        "valve",
        "validity",
        "trained",
        "detraining",
        "fold",
        "skin fold",
        "Normal cases",
        "grade 1",
        "ca+",
        "HER2-",
        "-1",
        "0.5",
        "肺癌",
        "_-_",
        "split",
        "Part B",
        "cv",
        "devic",
        "fit",
    ],
)
def test_name_of_a_class_has_no_role(name: str) -> None:
    assert part_of(name) is None


@pytest.mark.parametrize(
    ("name", "role", "rest"),
    [
        ("train injury", "train", "injury"),
        ("stress_test", "test", "stress"),
        ("covid_test", "test", "covid"),
        ("Test positive", "test", "positive"),
        ("normal_fold1", "fold", "normal"),
        ("test-retest", "test", "retest"),
    ],
)
def test_other_words_of_the_name_are_kept(name: str, role: Role, rest: str) -> None:
    part = part_of(name)
    assert part is not None
    assert (part.role, part.rest) == (role, rest)


def test_name_with_several_splits_is_recognized_and_digits_are_kept() -> None:
    assert part_of("train_test") == Part("several", "", "")
    assert part_of("test2") == Part("test", "", "2")


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (("tr", "te"), {"tr": "train", "te": "test"}),
        (("Tr", "vl", "TS", "x"), {"Tr": "train", "vl": "valid", "TS": "test"}),
        (("train", "validate"), {"train": "train", "validate": "valid"}),
        (("train", "test", "te"), {"train": "train", "test": "test"}),
        (("te", "normal"), {}),
        (("te", "ts"), {}),
        (("tr 1", "te 1"), {}),
    ],
)
def test_short_name_is_a_split_only_next_to_another_role(names: tuple[str, ...], roles: dict[str, Role]) -> None:
    assert {name: part.role for name, part in parts_of(names).items()} == roles
    assert part_of("te") is part_of("validate") is None


@pytest.mark.parametrize("name", ["data", "DATA", "Data_Set", "images", "Images", "dataset 2"])
def test_wrapper_means_only_that_there_are_images(name: str) -> None:
    assert is_wrapper(name)


@pytest.mark.parametrize("name", ["normal", "train", "1", "_", "lung images", "masks"])
def test_other_names_are_not_wrappers(name: str) -> None:
    assert not is_wrapper(name)
