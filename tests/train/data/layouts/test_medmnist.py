"""MedMNIST's `.npz` files as datasets, and the files that are rejected."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ctonnx.errors import DataError
from ctonnx.images import load
from ctonnx_train.data.dataset import Dataset
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.layouts.medmnist import read_medmnist
from ctonnx_train.data.sources import open_source
from ctonnx_train.data.splits import Sample


def split(name: str, labels: list[int], shape: tuple[int, ...] = (28, 28)) -> dict[str, NDArray[Any]]:
    """Returns a split's two arrays as MedMNIST has them."""
    images = np.random.default_rng(len(name)).integers(0, 256, (len(labels), *shape), dtype=np.uint8)
    return {f"{name}_images": images, f"{name}_labels": np.array(labels, np.uint8)[:, None]}


def written(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> Path:
    np.savez(folder / "organ.npz", allow_pickle=False, **arrays)
    return folder / "organ.npz"


def rejected(file: Path, message: str, **options: Any) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        read_medmnist(file, **options)


def test_file_is_read_as_a_dataset(tmp_path: Path) -> None:
    file = written(tmp_path, split("train", [1, 0, 1]) | split("val", [0]) | split("test", [1, 1]))
    assert read_medmnist(file) == Dataset(
        root=file,
        classes=("0", "1"),
        folder_classes={"0": "0", "1": "1"},
        splits={
            "train": (Sample("train_images/0", 1), Sample("train_images/1", 0), Sample("train_images/2", 1)),
            "valid": (Sample("val_images/0", 0),),
            "test": (Sample("test_images/0", 1), Sample("test_images/1", 1)),
        },
        to_make=(),
        passed_over=0,
        synthetic=False,
    )


@pytest.mark.parametrize("shape", [(28, 28), (64, 48), (28, 28, 3), (28, 28, 1)])
def test_every_sample_names_an_image_that_its_source_has(shape: tuple[int, ...], tmp_path: Path) -> None:
    arrays = split("train", [0, 1, 1], shape) | split("val", [1, 0], shape)
    data = read_medmnist(written(tmp_path, arrays))
    source = open_source(data.root)
    assert all(source.has(sample.path) for sample in data.samples)
    np.testing.assert_array_equal(source.image(data.splits["valid"][1].path), arrays["val_images"][1])


def test_grey_images_with_a_channel_are_the_same_images_without_it(tmp_path: Path) -> None:
    arrays = split("train", [0, 1, 1]) | split("val", [0])
    plain = written(tmp_path, arrays)
    (tmp_path / "other").mkdir()
    channel = written(
        tmp_path / "other",
        {name: array[..., None] if name.endswith("_images") else array for name, array in arrays.items()},
    )
    path = read_medmnist(channel).splits["train"][2].path
    loaded, expected = (np.asarray(load(open_source(file).image(path))) for file in (channel, plain))
    assert loaded.shape == (28, 28)
    np.testing.assert_array_equal(loaded, expected)


@pytest.mark.parametrize("suffix", ["npz", "NPZ"])
def test_read_data_reads_npz_files_too(suffix: str, tmp_path: Path) -> None:
    written(tmp_path, split("train", [0, 1]) | split("val", [0])).rename(tmp_path / f"set.{suffix}")
    assert read_data(tmp_path / f"set.{suffix}", class_names={"1": "spleen"}).classes == ("0", "spleen")


def test_classes_are_in_numeric_order(tmp_path: Path) -> None:
    file = written(tmp_path, split("train", [10, 2, 0, 10]) | split("val", [2]))
    data = read_medmnist(file)
    assert data.classes == ("0", "2", "10")
    assert [sample.label for sample in data.splits["train"]] == [2, 1, 0, 2]
    assert [sample.label for sample in data.splits["valid"]] == [1]


def test_numbers_can_be_given_names_and_share_one(tmp_path: Path) -> None:
    file = written(tmp_path, split("train", [0, 1, 2]) | split("val", [2]))
    data = read_medmnist(file, class_names={"2": "bladder", "0": "Left Kidney", "1": "bladder"})
    assert data.classes == ("Left Kidney", "bladder")
    assert data.folder_classes == {"0": "Left Kidney", "1": "bladder", "2": "bladder"}
    assert [sample.label for sample in data.samples] == [0, 1, 1, 1]


def test_name_for_a_missing_number_is_rejected(tmp_path: Path) -> None:
    file = written(tmp_path, split("train", [0, 1]) | split("val", [0]))
    rejected(
        file,
        f"expected a class folder named '7' in '{file}', found '0', '1'; check --class-name",
        class_names={"7": "heart"},
    )


@pytest.mark.parametrize(
    ("also", "to_make"),
    [(("test",), ("valid",)), ((), ("valid",)), (("val",), ())],
)
def test_missing_valid_split_is_to_be_made_and_a_missing_test_split_is_not(
    also: tuple[str, ...], to_make: tuple[str, ...], tmp_path: Path
) -> None:
    arrays = split("train", [0, 1, 0, 1])
    for name in also:
        arrays |= split(name, [0, 1])
    assert read_medmnist(written(tmp_path, arrays)).to_make == to_make


def test_class_that_train_lacks_is_rejected_by_name(tmp_path: Path) -> None:
    file = written(tmp_path, split("train", [0, 1]) | split("val", [0]) | split("test", [3, 1]))
    rejected(
        file,
        f"expected only the training images' classes ('0', '1') in '{file}', found '3' too; "
        "give the numbers names with --class-name NUMBER=NAME",
    )


@pytest.mark.parametrize(("labels", "found"), [([5, 5], "'5'"), ([], "none")])
def test_fewer_than_two_classes_are_rejected(labels: list[int], found: str, tmp_path: Path) -> None:
    file = written(tmp_path, split("train", labels))
    rejected(file, f"expected two or more classes in '{file}', found {found}")


def test_classes_of_a_model_define_the_labels_without_training_images(tmp_path: Path) -> None:
    file = written(tmp_path, split("test", [1, 0]))
    data = read_medmnist(file, class_names={"0": "heart", "1": "bladder"}, classes=("bladder", "femur", "heart"))
    assert data.classes == ("bladder", "femur", "heart")
    assert data.samples == (Sample("test_images/0", 0), Sample("test_images/1", 2))


def test_class_that_the_model_does_not_know_is_rejected(tmp_path: Path) -> None:
    file = written(tmp_path, split("test", [1, 0]))
    rejected(
        file,
        f"expected only the model's classes ('0', 'lung') in '{file}', found '1' too; "
        "give the numbers names with --class-name NUMBER=NAME",
        classes=("0", "lung"),
    )


@pytest.mark.parametrize(
    ("arrays", "expected", "found", "missing"),
    [
        ({"x": np.zeros(3)}, "train", "x", "train_images"),
        ({}, "train", "none", "train_images"),
        (split("test", [0, 1]), "train", "test_images, test_labels", "train_images"),
        (
            split("train", [0, 1]) | {"val_images": np.zeros((1, 28, 28), np.uint8)},
            "val",
            "train_images, train_labels, val_images",
            "val_labels",
        ),
    ],
)
def test_missing_array_is_named(
    arrays: dict[str, NDArray[Any]], expected: str, found: str, missing: str, tmp_path: Path
) -> None:
    file = written(tmp_path, arrays)
    rejected(
        file,
        f"expected the arrays {expected}_images and {expected}_labels in '{file}', found {found}; "
        f"{missing} is missing: is this a MedMNIST file?",
    )


@pytest.mark.parametrize(
    ("images", "found", "advice"),
    [
        (
            np.zeros((2, 28, 28, 28), np.uint8),
            "uint8 [2, 28, 28, 28]",
            "volumes (the 3D datasets) are not supported; save their slices as images",
        ),
        (
            np.zeros((2, 1, 28, 28, 28), np.uint8),
            "uint8 [2, 1, 28, 28, 28]",
            "volumes (the 3D datasets) are not supported; save their slices as images",
        ),
        (
            np.zeros((2, 1, 28, 28), np.uint8),
            "uint8 [2, 1, 28, 28]",
            "put the channels last: numpy.moveaxis(images, 1, 3)",
        ),
        (
            np.zeros((2, 3, 28, 28), np.uint8),
            "uint8 [2, 3, 28, 28]",
            "put the channels last: numpy.moveaxis(images, 1, 3)",
        ),
        (np.zeros((2, 28, 28, 4), np.uint8), "uint8 [2, 28, 28, 4]", "save them as grey or RGB images"),
        (np.zeros((2, 28, 28), np.float32), "float32 [2, 28, 28]", "save them as whole numbers from 0 to 255"),
        (np.zeros((2, 784), np.uint8), "uint8 [2, 784]", "save them as images of [height, width]"),
    ],
)
def test_volumes_and_other_arrays_are_rejected_by_their_kind(
    images: NDArray[Any], found: str, advice: str, tmp_path: Path
) -> None:
    file = written(tmp_path, split("train", [0, 1]) | {"train_images": images})
    rejected(
        file,
        "expected train_images as uint8 [images, height, width], or with 1 or 3 channels last, in "
        f"'{file}', found {found}; {advice}",
    )


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (np.zeros((2, 14), np.uint8), "uint8 [2, 14]"),
        (np.zeros((3, 1), np.uint8), "uint8 [3, 1]"),
        (np.zeros((2, 1)), "float64 [2, 1]"),
    ],
)
def test_several_labels_per_image_are_rejected(labels: NDArray[Any], found: str, tmp_path: Path) -> None:
    file = written(tmp_path, split("train", [0, 1]) | {"train_labels": labels})
    rejected(
        file,
        f"expected one whole number for each of the 2 images in train_labels of '{file}', found {found}; "
        "datasets with several labels per image are not supported",
    )
