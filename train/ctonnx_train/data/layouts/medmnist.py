"""Reads a MedMNIST `.npz` file: arrays of images and labels for training, validation and test.

The format is that of https://medmnist.com (Yang et al. 2023, https://doi.org/10.1038/s41597-022-01721-8).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.errors import DataError
from ctonnx.system.text import quoted
from ctonnx_train.data.dataset import Dataset, check_class_names
from ctonnx_train.data.layouts.class_names import class_name
from ctonnx_train.data.sources import read_arrays
from ctonnx_train.data.splits import SPLITS, Sample, Split

__all__ = ["read_medmnist"]

_ARRAYS: Mapping[Split, str] = {"train": "train", "valid": "val", "test": "test"}


def read_medmnist(
    file: Path, *, class_names: Mapping[str, str] | None = None, classes: Sequence[str] | None = None
) -> Dataset:
    """Reads the samples of a MedMNIST file; its classes are numbers, which `class_names` can rename.

    Args:
        file: File with `train_images`, uint8 [images, height, width] or [images, height, width, 1 or 3], and
            `train_labels`, integers [images, 1]; optionally the same for `val` and `test`.
        class_names: Class names by number, such as `{"0": "bladder"}`.
        classes: Classes of the evaluated model; None uses the classes of the training images.

    Raises:
        DataError: The file is damaged, or contains volumes or several labels per image.
    """
    arrays = read_arrays(file)
    labels = {
        split: _labels(file, name, arrays)
        for split, name in _ARRAYS.items()
        if (split == "train" and classes is None) or f"{name}_images" in arrays
    }
    numbers = [str(number) for number in sorted({label for values in labels.values() for label in values.tolist()})]
    class_names = class_names or {}
    whose = "training images'" if classes is None else "model's"
    check_class_names(class_names, numbers, file)
    names = {number: class_names.get(number) or class_name(number) for number in numbers}
    if classes is None:  # in numeric order: 2 before 10
        classes = tuple(dict.fromkeys(names[str(number)] for number in sorted(set(labels["train"].tolist()))))
        if len(classes) < 2:
            raise DataError(f"expected two or more classes in '{file}', found {quoted(classes) or 'none'}")
    if unknown := sorted(set(names.values()) - set(classes)):
        raise DataError(
            f"expected only the {whose} classes ({quoted(classes)}) in '{file}', found {quoted(unknown)} too; "
            "give the numbers names with --class-name NUMBER=NAME"
        )
    found: dict[Split, tuple[Sample, ...]] = dict.fromkeys(SPLITS, ())
    for split, numbered in labels.items():
        indices = [classes.index(names[str(number)]) for number in numbered.tolist()]
        found[split] = tuple(Sample(f"{_ARRAYS[split]}_images/{row}", index) for row, index in enumerate(indices))
    return Dataset(
        root=file,
        classes=tuple(classes),
        folder_classes=names,
        splits=found,
        to_make=() if found["valid"] else ("valid",),
        passed_over=0,
        synthetic=False,
    )


def _labels(file: Path, name: str, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Returns the labels of a split, after checking both of its arrays."""
    wanted = (f"{name}_images", f"{name}_labels")
    if missing := [array for array in wanted if array not in arrays]:
        raise DataError(
            f"expected the arrays {' and '.join(wanted)} in '{file}', found {', '.join(sorted(arrays)) or 'none'}; "
            f"{missing[0]} is missing: is this a MedMNIST file?"
        )
    images, labels = (arrays[array] for array in wanted)
    channels = images.shape[3:] if images.ndim > 2 else None
    if images.dtype != np.uint8 or channels not in ((), (1,), (3,)):
        raise DataError(
            f"expected {wanted[0]} as uint8 [images, height, width], or with 1 or 3 channels last, in '{file}', found "
            f"{images.dtype} {list(images.shape)}; {_advice(images)}"
        )
    if labels.size != len(images) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"expected one whole number for each of the {len(images)} images in {wanted[1]} of '{file}', found "
            f"{labels.dtype} {list(labels.shape)}; datasets with several labels per image are not supported"
        )
    return labels.reshape(-1).astype(np.int64)


def _advice(images: NDArray[Any]) -> str:
    """Returns advice on an array of images in an unsupported format."""
    if images.ndim == 4 and images.shape[1] in (1, 3) and min(images.shape[2:]) > 3:
        return "put the channels last: numpy.moveaxis(images, 1, 3)"
    if images.ndim == 5 or (images.ndim == 4 and images.shape[3] > 4):
        return "volumes (the 3D datasets) are not supported; save their slices as images"
    if images.ndim == 4:
        return "save them as grey or RGB images"
    if images.ndim == 3:
        return "save them as whole numbers from 0 to 255"
    return "save them as images of [height, width]"
