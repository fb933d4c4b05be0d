"""`audit`: what a data set holds, what in it cannot be read, and which images stand in it more than once."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ctonnx.errors import ImageError
from ctonnx.images.origin import load_with_origin
from ctonnx.images.source import ImageSource
from ctonnx_train.data.dataset import Dataset
from ctonnx_train.data.leakage import Leaks, duplicate_groups, find_leaks, group_names, groups_across_splits
from ctonnx_train.data.pixel_store import pixel_digest
from ctonnx_train.data.sources import open_source
from ctonnx_train.data.splits import SPLITS, Sample

__all__ = ["HASH_BITS", "NEAR_DISTANCE", "Audit", "Copy", "audit_data"]

_HASH_SIDE = 16

HASH_BITS = _HASH_SIDE**2
"""Bits of an image's perceptual hash: the signs of the lowest 16 x 16 frequencies of its cosine transform."""

NEAR_DISTANCE = 16
"""How many bits the hashes of near duplicates differ in, at most.

On the public chest-CT set the pairs below 20 bits were one scan each, scaled, compressed anew or drawn upon; from about
26 on neighbouring slices of one patient began.
"""


class Copy(NamedTuple):
    """A file in a group of copies."""

    path: str
    split: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found in a data set.

    Attributes:
        root: The folder or file.
        images: Files with an image's name, or rows of an array.
        folder_classes: The canonical name of each class folder's name.
        counts: Images of each class in each split.
        widths, heights: smallest, median and largest, in pixels.
        modes: Files of each Pillow mode, as they lie on the disk.
        formats: Files of each format.
        passed_over: Files that are no image of a class.
        unreadable: The reason for each file that cannot be read, by path.
        exact: Groups of files with identical pixels.
        near: Groups of files whose perceptual hashes lie within `near_distance` of one another, or of one between
            them; groups whose files are all exact copies are left out.
        near_distance: in bits of `HASH_BITS`.
        near_across_splits: Groups in `near` with files in more than one split.
        near_with_several_labels: Groups in `near` whose files carry different labels.
        leaks: The exact copies in numbers.
        notes: How the folder was understood where not by the letter, and what was passed over in it.
        grouped: Number of groups by `--group-regex`; None where none were asked for.
        groups_across_splits: For the name of each group, such as a patient, that is in several splits, its number of
            images in each split.
    """

    root: str
    images: int
    folder_classes: Mapping[str, str]
    counts: Mapping[str, Mapping[str, int]]
    widths: tuple[int, int, int]
    heights: tuple[int, int, int]
    modes: Mapping[str, int]
    formats: Mapping[str, int]
    passed_over: int
    unreadable: Mapping[str, str]
    exact: Sequence[Sequence[Copy]]
    near: Sequence[Sequence[Copy]]
    near_distance: int
    near_across_splits: int
    near_with_several_labels: int
    leaks: Leaks
    notes: tuple[str, ...] = ()
    grouped: int | None = None
    groups_across_splits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def splits_leak(self) -> bool:
        """Whether an image, a near duplicate of it, or another of its group stands in more than one split."""
        copies = self.leaks.groups_across_splits or any(self.leaks.leaked.values())
        return bool(copies or self.near_across_splits or self.groups_across_splits)

    def as_dict(self) -> dict[str, Any]:
        """Returns what a JSON document holds."""
        groups = {name: [[copy._asdict() for copy in group] for group in getattr(self, name)] for name in _GROUPS}
        return asdict(self) | groups | {"hash_bits": HASH_BITS, "splits_leak": self.splits_leak}


_GROUPS = ("exact", "near")


class _Facts(NamedTuple):
    """What one image tells."""

    width: int
    height: int
    mode: str
    format: str
    digest: str
    hash: NDArray[np.bool_]


def audit_data(
    data: Dataset,
    *,
    near_distance: int = NEAR_DISTANCE,
    group_regex: str | None = None,
    progress: Callable[[int], object] | None = None,
) -> Audit:
    """Reads every image of a data set and compares each with each.

    Args:
        data: as it was found; splits that it lacks are not made.
        near_distance: Largest difference of two near duplicates' hashes, in bits of `HASH_BITS`.
        group_regex: See `ctonnx_train.data.leakage.group_names`.
        progress: Called with 1 after each image.

    Raises:
        DataError: The regular expression matches nothing.
    """
    samples = data.samples
    found = dict(_read_all(data.root, samples, progress))
    facts = {path: fact for path, fact in found.items() if isinstance(fact, _Facts)}
    readable = [sample for sample in samples if sample.path in facts]
    digests = {path: fact.digest for path, fact in facts.items()}
    splits = {split: tuple(sample for sample in data.splits[split] if sample.path in facts) for split in SPLITS}
    split_of = {sample.path: split for split in SPLITS for sample in splits[split]}

    def copies(groups: Iterable[Sequence[Sample]]) -> list[list[Copy]]:
        return [
            [Copy(sample.path, split_of[sample.path], data.classes[sample.label]) for sample in group]
            for group in groups
        ]

    names = group_names(samples, group_regex)
    near = copies(_near_groups(readable, facts, near_distance))
    return Audit(
        root=str(data.root),
        images=len(samples),
        folder_classes=data.folder_classes,
        counts=data.counts(),
        widths=_spread([fact.width for fact in facts.values()]),
        heights=_spread([fact.height for fact in facts.values()]),
        modes=dict(Counter(fact.mode for fact in facts.values()).most_common()),
        formats=dict(Counter(fact.format for fact in facts.values()).most_common()),
        passed_over=data.skipped,
        unreadable={path: fact.reason for path, fact in found.items() if isinstance(fact, ImageError)},
        exact=copies(duplicate_groups(readable, digests)),
        near=near,
        near_distance=near_distance,
        near_across_splits=sum(len({copy.split for copy in group}) > 1 for group in near),
        near_with_several_labels=sum(len({copy.label for copy in group}) > 1 for group in near),
        leaks=find_leaks(splits, digests),
        notes=data.notes,
        grouped=None if group_regex is None else len(set(names.values())),
        groups_across_splits=groups_across_splits(data.splits, names),
    )


def _read_all(
    root: Path, samples: Sequence[Sample], progress: Callable[[int], object] | None
) -> Iterable[tuple[str, _Facts | ImageError]]:
    source = open_source(root)
    with ThreadPoolExecutor(thread_name_prefix="ctonnx-audit") as pool:
        results = pool.map(lambda sample: _read(source.image(sample.path)), samples)
        for sample, result in zip(samples, results, strict=True):
            yield sample.path, result
            if progress:
                progress(1)


def _read(file: ImageSource) -> _Facts | ImageError:
    try:
        image, origin = load_with_origin(file)
        return _Facts(image.width, image.height, origin.mode, origin.format, pixel_digest(image), _hash(image))
    except ImageError as error:
        return error


def _hash(image: Image.Image) -> NDArray[np.bool_]:
    """Returns the perceptual hash (pHash, http://www.phash.org) of the grey image: bool [HASH_BITS]."""
    bits: NDArray[np.bool_] = imagehash.phash(image, hash_size=_HASH_SIDE).hash.ravel()
    return bits


def _near_groups(samples: Sequence[Sample], facts: Mapping[str, _Facts], distance: int) -> list[list[Sample]]:
    """Joins the samples that lie within `distance` of each other; groups of nothing but exact copies are left out."""
    if not samples:
        return []
    bits = np.array([facts[sample.path].hash for sample in samples], np.float32)
    ones = bits.sum(axis=1)
    pairs = []
    for start in range(0, len(bits), 1024):  # in blocks: the matrix of all distances would not fit for large sets
        block = slice(start, start + 1024)
        distances = ones[block, None] + ones[None] - 2 * bits[block] @ bits.T
        rows, columns = np.nonzero(distances <= distance)
        pairs.append(np.stack([rows + start, columns]))
    rows, columns = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(bits), len(bits)))
    _, numbers = connected_components(graph, directed=False)
    groups: dict[int, list[Sample]] = {}
    for sample, number in zip(samples, numbers.tolist(), strict=True):
        groups.setdefault(number, []).append(sample)
    return [group for group in groups.values() if len({facts[sample.path].digest for sample in group}) > 1]


def _spread(values: Sequence[int]) -> tuple[int, int, int]:
    if not values:
        return (0, 0, 0)
    return min(values), int(np.median(values)), max(values)
