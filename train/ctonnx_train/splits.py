"""Labelled images, and the splits that are taken from the training images where a data set has none."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from ctonnx.errors import DataError

__all__ = ["SPLITS", "Sample", "Split", "take_splits"]

Split: TypeAlias = Literal["train", "valid", "test"]

SPLITS: tuple[Split, ...] = ("train", "valid", "test")
"""The splits, in their order everywhere."""

_SHARE = 0.15


class Sample(NamedTuple):
    """One labelled image.

    Attributes:
        path: relative to the data folder's root, with forward slashes.
        label: index of its class.
    """

    path: str
    label: int


def take_splits(
    splits: Mapping[Split, tuple[Sample, ...]], made: Sequence[Split], classes: Sequence[str], seed: int
) -> dict[Split, tuple[Sample, ...]]:
    """Fills the splits in `made` with 15 % of the training images each, class by class, at least one of each class.

    Args:
        splits: what the data set has.
        made: the splits to fill, `valid` or `test` or both.
        classes: class names, by label.
        seed: the same one takes the same images.

    Raises:
        DataError: a class has too few images.
    """
    filled = dict(splits)
    kept: list[Sample] = []
    taken: dict[Split, list[Sample]] = {split: [] for split in made}
    order = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        samples = [sample for sample in splits["train"] if sample.label == label]
        if made and len(samples) <= len(made):
            raise DataError(
                f"expected at least {len(made) + 1} images of each class to take {' and '.join(made)} from, found "
                f"{len(samples)} of '{name}'; add images, or make 'train' and 'valid' folders"
            )
        shuffled = [samples[row] for row in order.permutation(len(samples))]
        count = max(1, round(_SHARE * len(samples)))
        for split in made:
            taken[split] += shuffled[:count]
            shuffled = shuffled[count:]
        kept += shuffled
    filled["train"] = tuple(sorted(kept))
    filled.update({split: tuple(sorted(found)) for split, found in taken.items()})
    return filled
