"""A data set before its images are read: its counts, and the names that it refuses."""

import re
from pathlib import Path

import pytest

from ctonnx.errors import DataError
from ctonnx.system.text import counted, quoted
from ctonnx_train.data.dataset import Dataset, check_class_names
from ctonnx_train.data.splits import Sample

DATA = Dataset(
    root=Path("scans"),
    classes=("mass", "normal"),
    folder_classes={"Mass": "mass", "normal": "normal"},
    splits={
        "train": (Sample("train/Mass/1.png", 0), Sample("train/Mass/2.png", 0), Sample("train/normal/1.png", 1)),
        "valid": (Sample("valid/normal/1.png", 1),),
        "test": (),
    },
    to_make=(),
    skipped=0,
    synthetic=False,
)


def test_samples_are_those_of_all_splits_in_their_order() -> None:
    assert [sample.path for sample in DATA.samples] == [
        "train/Mass/1.png",
        "train/Mass/2.png",
        "train/normal/1.png",
        "valid/normal/1.png",
    ]


def test_counts_name_every_class_in_every_split_in_the_order_of_the_labels() -> None:
    counts = DATA.counts()
    assert counts == {
        "train": {"mass": 2, "normal": 1},
        "valid": {"mass": 0, "normal": 1},
        "test": {"mass": 0, "normal": 0},
    }
    assert [(split, list(found)) for split, found in counts.items()] == [
        (split, ["mass", "normal"]) for split in ("train", "valid", "test")
    ]


def test_names_of_folders_that_are_there_are_not_refused() -> None:
    check_class_names({"Mass": "tumour"}, ["normal", "Mass"], Path("scans"))
    check_class_names({}, [], Path("scans"))


def test_name_of_a_folder_that_is_not_there_is_refused_with_those_that_are() -> None:
    message = "expected a class folder named 'mass' in 'scans', found 'Mass', 'normal'; check --class-name"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        check_class_names({"tumour": "b", "mass": "a", "Mass": "c"}, iter(["normal", "Mass"]), Path("scans"))


def test_quoted_names_stand_in_a_message_one_after_the_other() -> None:
    assert quoted(["a", Path("b c")]) == "'a', 'b c'"
    assert quoted([]) == ""


@pytest.mark.parametrize(("count", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files")])
def test_a_number_of_things_is_singular_for_one(count: int, text: str) -> None:
    assert counted(count, "file") == text
