"""The splits that are taken from the training images."""

import pytest

from ctonnx.errors import DataError
from ctonnx_train.splits import SPLITS, Sample, Split, take_splits

CLASSES = ("mass", "normal")
IMAGES: dict[Split, tuple[Sample, ...]] = {
    "train": tuple(Sample(f"{CLASSES[label]}/{number:02}.png", label) for label in (0, 1) for number in range(20)),
    "valid": (),
    "test": (),
}


def test_each_made_split_takes_fifteen_percent_of_each_class_and_no_image_twice() -> None:
    splits = take_splits(IMAGES, ("valid", "test"), CLASSES, seed=0)
    counts = {split: [sum(sample.label == label for sample in splits[split]) for label in (0, 1)] for split in SPLITS}
    assert counts == {"train": [14, 14], "valid": [3, 3], "test": [3, 3]}
    assert sorted(sample for split in SPLITS for sample in splits[split]) == sorted(IMAGES["train"])


def test_same_seed_takes_the_same_images_and_another_does_not() -> None:
    first, again, other = (take_splits(IMAGES, ("valid",), CLASSES, seed) for seed in (1, 1, 2))
    assert first == again
    assert first["valid"] != other["valid"]


def test_splits_that_are_there_stay_as_they_are() -> None:
    assert take_splits(IMAGES, (), CLASSES, seed=0) == IMAGES


def test_class_with_too_few_images_is_named() -> None:
    few: dict[Split, tuple[Sample, ...]] = {**IMAGES, "train": IMAGES["train"][:21]}
    with pytest.raises(DataError) as caught:
        take_splits(few, ("valid",), CLASSES, seed=0)
    assert str(caught.value) == (
        "expected at least 2 images of each class to take valid from, found 1 of 'normal'; "
        "add images, or make 'train' and 'valid' folders"
    )
