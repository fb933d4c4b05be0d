"""Labelled images, and splits taken from the training images of a dataset without them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from ctonnx.errors import DataError

__all__ = ["SPLITS", "Sample", "Split", "Splits", "take_splits"]

Split: TypeAlias = Literal["train", "valid", "test"]

SPLITS: tuple[Split, ...] = ("train", "valid", "test")
"""Names of the splits, in the order used everywhere."""

_SHARE = 0.15


class Sample(NamedTuple):
    """One labelled image: its path, and the index of its class.

    The path is relative to the dataset's root, with forward slashes; in an `.npz` file, an array's name and a row.
    """

    path: str
    label: int


Splits: TypeAlias = Mapping[Split, tuple[Sample, ...]]
"""Samples of each split."""


def take_splits(
    splits: Splits,
    made: Sequence[Split],
    classes: Sequence[str],
    seed: int,
    groups: Mapping[str, int] | None = None,
) -> dict[Split, tuple[Sample, ...]]:
    """Fills each split in `made` with 15 % of the training images, stratified by class, at least one of each class.

    A group of images, such as the copies of one scan or the scans of one patient, is kept together in one split, so
    that with large groups a class's share can differ from 15 %. If groups contain several classes and a class has few
    groups, a created split can lack the class; `train` never does. (scikit-learn's `StratifiedGroupKFold` makes folds
    of equal size, which would have to be large for a class with few images, and may leave a class out of a fold.)

    `groups` has the group number of each image, by path; None makes each image a group of its own.

    Raises:
        DataError: A class has too few images, or too few groups of images.
    """
    if not made:
        return dict(splits)
    members: dict[int, list[Sample]] = {}
    for position, sample in enumerate(splits["train"]):
        members.setdefault(position if groups is None else groups[sample.path], []).append(sample)
    counts = Counter(sample.label for sample in splits["train"])
    group_counts = Counter(label for group in members.values() for label in {sample.label for sample in group})
    for label, name in enumerate(classes):
        if group_counts[label] <= len(made):
            what = "images" if counts[label] == group_counts[label] else "images that are not copies or of one group"
            raise DataError(
                f"expected at least {len(made) + 1} {what} of each class to take {' and '.join(made)} from, found "
                f"{group_counts[label]} of '{name}'; add images, or make 'train' and 'valid' folders"
            )
    order = np.random.default_rng(seed).permutation(len(members))
    left = [list(members.values())[position] for position in order]
    filled = dict(splits)
    for position, split in enumerate(made):
        taken, left = _take(left, counts, keep=len(made) - position)
        filled[split] = tuple(sorted(taken))
    filled["train"] = tuple(sorted(sample for group in left for sample in group))
    return filled


def _take(
    groups: list[list[Sample]], counts: Mapping[int, int], *, keep: int
) -> tuple[list[Sample], list[list[Sample]]]:
    """Takes 15 % of each class's images, at least one, in whole groups, and leaves `keep` groups of each class."""
    taken: Counter[int] = Counter()
    sizes = [Counter(sample.label for sample in group) for group in groups]
    available = Counter(label for size in sizes for label in size)
    chosen: set[int] = set()

    def choose(position: int) -> None:
        chosen.add(position)
        taken.update(sizes[position])
        available.subtract(sizes[position].keys())

    def spared(position: int) -> bool:
        return all(available[label] > keep for label in sizes[position])

    for position, size in enumerate(sizes):
        if spared(position) and all(taken[label] + size[label] <= round(_SHARE * counts[label]) for label in size):
            choose(position)
    for label in counts:
        if not taken[label]:  # a class with few images or large groups
            candidates = [position for position, size in enumerate(sizes) if label in size and spared(position)]
            if candidates:
                choose(min(candidates, key=lambda position: (len(groups[position]), position)))
    left = [group for position, group in enumerate(groups) if position not in chosen]
    return [sample for position in sorted(chosen) for sample in groups[position]], left
