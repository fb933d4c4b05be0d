"""Labelled images, and splits taken from the training images of a dataset without them."""

import warnings
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
_FOLDS = 7  # the number whose folds are nearest to the share


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
    *,
    by_patient: bool = False,
) -> dict[Split, tuple[Sample, ...]]:
    """Fills each split in `made` with 15 % of the training images, stratified by class, at least one of each class.

    A group of images, such as the copies of one scan or the scans of one patient, is kept together in one split, so
    that with large groups a class's share can differ from 15 %. If groups contain several classes and a class has few
    groups, a created split can lack the class; `train` never does.

    With patients, whose groups are large, the folds of scikit-learn's `StratifiedGroupKFold` come nearer to the share
    than groups that are drawn one by one; its folds of equal size may lack a class with few patients, and drawn groups
    do not. So of both the one that lacks the fewest classes, and then has the share nearest to 15 %, is taken.

    Args:
        splits: Samples of the splits that the dataset has.
        made: Splits to make.
        classes: Class names.
        seed: Random seed of the choice.
        groups: Group number of each image, by path; None makes each image a group of its own.
        by_patient: Whether the groups are those of patients.

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
            advice = "add images, or make 'train' and 'valid' folders"
            if by_patient:
                what = "patients"
                advice = (
                    "add patients, or name the splits: 'train' and 'valid' folders, or the column 'split' of --labels"
                )
            raise DataError(
                f"expected at least {len(made) + 1} {what} of each class to take {' and '.join(made)} from, found "
                f"{group_counts[label]} of '{name}'; {advice}"
            )
    order = np.random.default_rng(seed).permutation(len(members))
    left = [list(members.values())[position] for position in order]
    filled = dict(splits)
    for position, split in enumerate(made):
        keep = len(made) - position
        chosen = _choose(left, counts, keep=keep)
        if by_patient:
            folds = (fold for fold in _folds(left, seed) if _spares(left, fold, keep=keep))
            chosen = min([chosen, *folds], key=lambda groups: _distance(left, groups, counts))
        filled[split] = tuple(sorted(sample for group in sorted(chosen) for sample in left[group]))
        left = [group for number, group in enumerate(left) if number not in chosen]
    filled["train"] = tuple(sorted(sample for group in left for sample in group))
    return filled


def _folds(groups: Sequence[Sequence[Sample]], seed: int) -> list[set[int]]:
    """Returns the groups in each fold of `StratifiedGroupKFold`; none if there are fewer groups than folds."""
    from sklearn.model_selection import StratifiedGroupKFold  # seconds to load, which other datasets need not wait for

    numbers = np.array([number for number, group in enumerate(groups) for _ in group])
    labels = np.array([sample.label for group in groups for sample in group])
    if len(groups) < _FOLDS or max(Counter(labels.tolist()).values()) < _FOLDS:
        return []
    folds = StratifiedGroupKFold(n_splits=_FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a class has fewer images than folds: such folds lose
        return [set(numbers[fold].tolist()) for _, fold in folds.split(labels, labels, numbers)]


def _spares(groups: Sequence[Sequence[Sample]], chosen: set[int], *, keep: int) -> bool:
    """Returns whether `keep` groups of each class are left, or all are if a class has fewer."""
    has = [{sample.label for sample in group} for group in groups]
    there = Counter(label for labels in has for label in labels)
    left = Counter(label for number, labels in enumerate(has) if number not in chosen for label in labels)
    return all(left[label] >= min(keep, count) for label, count in there.items())


def _distance(groups: Sequence[Sequence[Sample]], chosen: set[int], counts: Mapping[int, int]) -> tuple[int, float]:
    """Returns the number of classes that the groups lack, and the largest distance of a class's share from 15 %."""
    taken = Counter(sample.label for group in chosen for sample in groups[group])
    return (
        sum(not taken[label] for label in counts),
        max(abs(taken[label] / count - _SHARE) for label, count in counts.items()),
    )


def _choose(groups: Sequence[Sequence[Sample]], counts: Mapping[int, int], *, keep: int) -> set[int]:
    """Chooses groups of 15 % of each class's images, at least one, and leaves `keep` groups of each class."""
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
    return chosen
