"""Leakage between splits: copies of an image, and groups of images, in several splits or with several labels."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ctonnx.errors import DataError
from ctonnx.system.files import sha256_of
from ctonnx.system.text import counted
from ctonnx_train.data.splits import SPLITS, Sample, Split, Splits

__all__ = [
    "Digests",
    "GroupNames",
    "Leaks",
    "drop_leaks",
    "duplicate_groups",
    "extra_copies",
    "find_leaks",
    "group_names",
    "group_numbers",
    "groups_across_splits",
    "groups_in_classes",
    "labelled_fingerprint",
    "leaked_samples",
]

Digests: TypeAlias = Mapping[str, str]
"""`ctonnx_train.data.pixel_store.pixel_digest` of each sample, by path."""

GroupNames: TypeAlias = Mapping[str, str]
"""Names of samples' groups from `group_names`, by path."""


@dataclass(frozen=True, kw_only=True)
class Leaks:
    """Numbers of groups of two or more files with identical pixels, and of the files in them.

    Attributes:
        leaked: Number of files in `valid` and `test` with a copy, or another image of their patient or other group, in
            an earlier split.
        dropped: Number of files that `--drop-leaks` removed from each split.
    """

    groups: int
    files: int
    groups_across_splits: int
    files_across_splits: int
    groups_with_several_labels: int
    files_with_several_labels: int
    leaked: Mapping[str, int]
    dropped: Mapping[str, int]

    def sentence(self) -> str:
        """Returns the counts as a sentence, for a warning or a report."""
        if not self.groups and not any(self.leaked.values()):
            return "no image is in the dataset twice"
        leaked, dropped = (
            ", ".join(f"{count} of {split}" for split, count in counts.items() if count)
            for counts in (self.leaked, self.dropped)
        )
        files = (leaked or "none") + (f"; left out: {dropped}" if dropped else "")
        if not self.groups:
            return f"files whose group is in an earlier split: {files}"
        across = f"{counted(self.groups_across_splits, 'group')} ({counted(self.files_across_splits, 'file')})"
        return (
            f"{counted(self.files, 'file')} in {counted(self.groups, 'group')} of identical pixels: {across} across "
            f"splits, {self.groups_with_several_labels} with different labels; files that leaked from an earlier "
            f"split: {files}"
        )


def duplicate_groups(samples: Sequence[Sample], digests: Digests) -> list[list[Sample]]:
    """Returns the groups of two or more samples with identical pixels, in the order of their first samples."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(digests[sample.path], []).append(sample)
    return [group for group in groups.values() if len(group) > 1]


def extra_copies(
    samples: Sequence[Sample], digests: Digests, kind_of: Callable[[Sample], object]
) -> tuple[set[Sample], set[Sample]]:
    """Returns the samples to leave out so that each image counts once.

    The first set is the samples with a copy of another kind, such as another class, the second the further copies of
    other samples.
    """
    conflicting, repeated = set[Sample](), set[Sample]()
    for group in duplicate_groups(samples, digests):
        if len({kind_of(sample) for sample in group}) > 1:
            conflicting.update(group)
        else:
            repeated.update(group[1:])
    return conflicting, repeated


def labelled_fingerprint(samples: Sequence[Sample], digests: Digests, classes: Sequence[str]) -> str:
    """Returns the SHA-256 over the class and pixels of each image; names, order and formats do not matter."""
    lines = sorted(f"{classes[sample.label]}/{digests[sample.path]}\n" for sample in samples)
    return sha256_of("".join(lines).encode())


def group_names(samples: Sequence[Sample], regex: str | None) -> dict[str, str]:
    """Returns the name of each sample's group by path, for the samples whose path the regular expression matches.

    The name is the expression's first group, as in `patient_(\\d+)`, or else the whole match.

    Raises:
        DataError: The expression is invalid, or matches no path.
    """
    if regex is None:
        return {}
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise DataError(f"expected a regular expression for --group-regex, found '{regex}' ({error})") from error
    matches = {sample.path: pattern.search(sample.path) for sample in samples}
    found = {path: match[1] if pattern.groups else match[0] for path, match in matches.items() if match}
    names = {path: name for path, name in found.items() if name}
    if samples and not names:
        raise DataError(
            f"expected --group-regex '{regex}' to match paths such as '{samples[0].path}', found that it matches none"
        )
    return names


def group_numbers(samples: Sequence[Sample], digests: Digests, names: GroupNames | None = None) -> dict[str, int]:
    """Returns the number of each sample's group, by path; samples of a group belong in one split.

    Two samples are of one group if their pixels or their group names are identical, or if a chain of such samples
    connects them.
    """
    names = names or {}
    keys = [("pixels", digests[sample.path]) for sample in samples]
    keys += [("name", names[path]) if path in names else ("path", path) for path, _ in samples]
    number = {key: len(samples) + position for position, key in enumerate(dict.fromkeys(keys))}
    rows = np.tile(np.arange(len(samples)), 2)
    columns = np.array([number[key] for key in keys], int)
    nodes = len(samples) + len(number)
    edges = coo_array((np.ones(len(keys), bool), (rows, columns)), shape=(nodes, nodes))
    _, labels = connected_components(edges, directed=False)
    return {sample.path: int(labels[row]) for row, sample in enumerate(samples)}


def groups_across_splits(splits: Splits, names: GroupNames) -> dict[str, dict[str, int]]:
    """Returns the groups, such as patients, that are in several splits, with their number of images in each."""
    counts: dict[str, Counter[str]] = {}
    for split in SPLITS:
        for sample in splits[split]:
            if sample.path in names:
                counts.setdefault(names[sample.path], Counter())[split] += 1
    return {name: dict(counts[name]) for name in sorted(counts) if len(counts[name]) > 1}


def groups_in_classes(
    samples: Sequence[Sample], names: GroupNames, classes: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Returns the groups, such as patients, that are in several classes, with their number of images in each."""
    counts: dict[str, Counter[str]] = {}
    for sample in samples:
        if sample.path in names:
            counts.setdefault(names[sample.path], Counter())[classes[sample.label]] += 1
    return {name: dict(counts[name]) for name in sorted(counts) if len(counts[name]) > 1}


def find_leaks(splits: Splits, digests: Digests, names: GroupNames | None = None) -> Leaks:
    """Counts the copies, and the files of `valid` and `test` that leak."""
    split_of = {sample.path: split for split in SPLITS for sample in splits[split]}
    groups = duplicate_groups([sample for split in SPLITS for sample in splits[split]], digests)
    across = [group for group in groups if len({split_of[sample.path] for sample in group}) > 1]
    conflicting = [group for group in groups if len({sample.label for sample in group}) > 1]
    return Leaks(
        groups=len(groups),
        files=sum(map(len, groups)),
        groups_across_splits=len(across),
        files_across_splits=sum(map(len, across)),
        groups_with_several_labels=len(conflicting),
        files_with_several_labels=sum(map(len, conflicting)),
        leaked={split: len(leaked_samples(splits, split, digests, names)) for split in SPLITS[1:]},
        dropped={},
    )


def drop_leaks(splits: Splits, digests: Digests, names: GroupNames | None = None) -> dict[Split, tuple[Sample, ...]]:
    """Returns the splits without leaked samples in `valid` and `test`, and without conflicting copies in `train`."""
    groups = duplicate_groups([sample for split in SPLITS for sample in splits[split]], digests)
    conflicting = {sample for group in groups if len({sample.label for sample in group}) > 1 for sample in group}
    out = {"train": conflicting} | {split: leaked_samples(splits, split, digests, names) for split in SPLITS[1:]}
    return {split: tuple(sample for sample in splits[split] if sample not in out[split]) for split in SPLITS}


def leaked_samples(splits: Splits, split: Split, digests: Digests, names: GroupNames | None = None) -> set[Sample]:
    """Returns the samples of a split with a copy, or another sample of their group, in an earlier split."""
    earlier = [sample.path for other in SPLITS[: SPLITS.index(split)] for sample in splits[other]]
    names = names or {}
    seen_pixels = {digests[path] for path in earlier}
    seen_names = {names[path] for path in earlier if path in names}
    return {
        sample
        for sample in splits[split]
        if digests[sample.path] in seen_pixels or names.get(sample.path) in seen_names
    }
