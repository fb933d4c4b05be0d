"""Audit of a dataset: its images, unreadable files, copies, near duplicates and shortcuts."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.report_schema import Shortcuts
from ctonnx.errors import ImageError
from ctonnx.images import Preprocessing, to_pixels
from ctonnx.images.loading import load_with_origin
from ctonnx.images.source import ImageSource
from ctonnx.system.text import Log
from ctonnx_train.audit.facts import Facts, facts_of_input, image_facts
from ctonnx_train.audit.near_duplicates import HASH_BITS, NEAR_DISTANCE, group_near_duplicates, perceptual_hash
from ctonnx_train.audit.shortcuts import PERMUTATIONS, find_shortcuts
from ctonnx_train.data.dataset import Dataset
from ctonnx_train.data.layouts.patient_sources import find_patients
from ctonnx_train.data.leakage import (
    Leaks,
    duplicate_groups,
    find_leaks,
    group_numbers,
    groups_across_splits,
    groups_in_classes,
)
from ctonnx_train.data.patients import PatientOrigin, Patients
from ctonnx_train.data.pixel_store import pixel_digest
from ctonnx_train.data.sources import open_source
from ctonnx_train.data.splits import SPLITS, Sample

__all__ = ["Audit", "Copy", "audit_data"]


class Copy(NamedTuple):
    """A file in a group of copies."""

    path: str
    split: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Result of an audit, with numbers of files by split and class, Pillow mode (before conversion) and format.

    Attributes:
        widths, heights: Smallest, median and largest, in pixels.
        passed_over: Number of files that are not images of a class.
        unreadable: Reason for each unreadable file, by path.
        exact: Groups of files with identical pixels.
        near: Groups of files with perceptual hashes within `near_distance` bits of `HASH_BITS` of each other, directly
            or through other files of the group; without groups of exact copies only.
        grouped: Number of patients, or of other groups by `--group-regex`; None if they are unknown.
        shortcuts: Whether the class of an image can be predicted from facts that are not anatomy.
        as_seen: Preprocessing whose results were tested for shortcuts; None if the files were.
        groups_across_splits: Number of images in each split, for each patient, or other group, in several splits.
        groups_in_several_classes: Number of images of each class, for each patient, or other group, in several classes.
        patients_origin: Source of the patients. Those of a labels file or of DICOM headers are pseudonyms, which no
            other command repeats.
        first_image: First image of each patient in these two tables; empty for patients by `--group-regex`.
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
    shortcuts: Shortcuts
    as_seen: Preprocessing | None = None
    notes: tuple[str, ...] = ()
    grouped: int | None = None
    groups_across_splits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    groups_in_several_classes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    patients_origin: PatientOrigin | None = None
    first_image: Mapping[str, str] = field(default_factory=dict)

    @property
    def splits_leak(self) -> bool:
        """Whether copies or near duplicates of an image, or images of a group, are in more than one split."""
        copies = self.leaks.groups_across_splits or any(self.leaks.leaked.values())
        return bool(copies or self.near_across_splits or self.groups_across_splits)

    def as_dict(self) -> dict[str, Any]:
        """Returns the JSON document."""
        groups = {
            name: [[copy._asdict() for copy in group] for group in getattr(self, name)] for name in ("exact", "near")
        }
        return asdict(self) | groups | {"hash_bits": HASH_BITS, "splits_leak": self.splits_leak}


class _Image(NamedTuple):
    width: int
    height: int
    mode: str
    format: str
    digest: str
    hash: NDArray[np.bool_]  # [HASH_BITS]
    facts: Facts


def audit_data(
    data: Dataset,
    *,
    near_distance: int = NEAR_DISTANCE,
    group_regex: str | None = None,
    log: Log = lambda line: None,
    as_seen: Preprocessing | None = None,
    permutations: int = PERMUTATIONS,
    progress: Callable[[int], object] | None = None,
) -> Audit:
    """Reads every image of a dataset and compares each with each.

    Args:
        data: Dataset; missing splits are not created.
        near_distance: Maximum difference of near duplicates' hashes, in bits of `HASH_BITS`.
        group_regex: See `ctonnx_train.data.leakage.group_names`.
        log: Called with a line about the source of the patients.
        as_seen: Preprocessing whose results are tested for shortcuts, as the network sees them; None tests the files.
        permutations: See `ctonnx_train.audit.shortcuts.find_shortcuts`.
        progress: Called with 1 after each image.

    Raises:
        DataError: The regular expression is invalid or matches no path.
    """
    samples = data.samples
    patients = find_patients(data, samples, group_regex, log)
    names = patients.names if patients else {}
    source = open_source(data.root)
    found: dict[str, _Image | ImageError] = {}
    with ThreadPoolExecutor(thread_name_prefix="ctonnx-audit") as pool:
        results = pool.map(lambda sample: _read(source.image(sample.path), as_seen), samples)
        for sample, result in zip(samples, results, strict=True):
            found[sample.path] = result
            if progress:
                progress(1)
    facts = {path: fact for path, fact in found.items() if isinstance(fact, _Image)}
    readable = [sample for sample in samples if sample.path in facts]
    digests = {path: fact.digest for path, fact in facts.items()}
    splits = {split: tuple(sample for sample in data.splits[split] if sample.path in facts) for split in SPLITS}
    copy_of = {
        sample: Copy(sample.path, split, data.classes[sample.label]) for split in SPLITS for sample in splits[split]
    }
    numbers = group_near_duplicates([facts[sample.path].hash for sample in readable], near_distance)
    exact, near = (
        [[copy_of[sample] for sample in group] for group in groups]
        for groups in (duplicate_groups(readable, digests), _groups(readable, facts, numbers))
    )
    across, several = groups_across_splits(data.splits, names), groups_in_classes(samples, names, data.classes)
    together = group_numbers(
        readable, {sample.path: str(number) for sample, number in zip(readable, numbers, strict=True)}, names
    )
    shortcuts = find_shortcuts(
        [facts[sample.path].facts for sample in readable],
        [sample.label for sample in readable],
        data.classes,
        [together[sample.path] for sample in readable],
        permutations=permutations,
    )
    return Audit(
        root=str(data.root),
        images=len(samples),
        folder_classes=data.folder_classes,
        counts=data.counts(),
        widths=_range([fact.width for fact in facts.values()]),
        heights=_range([fact.height for fact in facts.values()]),
        modes=dict(Counter(fact.mode for fact in facts.values()).most_common()),
        formats=dict(Counter(fact.format for fact in facts.values()).most_common()),
        passed_over=data.passed_over,
        unreadable={path: fact.reason for path, fact in found.items() if isinstance(fact, ImageError)},
        exact=exact,
        near=near,
        near_distance=near_distance,
        near_across_splits=sum(len({copy.split for copy in group}) > 1 for group in near),
        near_with_several_labels=sum(len({copy.label for copy in group}) > 1 for group in near),
        leaks=find_leaks(splits, digests),
        shortcuts=shortcuts,
        as_seen=as_seen,
        notes=data.notes,
        grouped=None if patients is None else len({names[path] for path, _ in samples if path in names}),
        groups_across_splits=across,
        groups_in_several_classes=several,
        patients_origin=patients.origin if patients else None,
        first_image=_first_images(patients, samples, {*across, *several}),
    )


def _first_images(patients: Patients | None, samples: Sequence[Sample], shown: Collection[str]) -> dict[str, str]:
    """Returns the first image of each of the shown patients whose names are pseudonyms."""
    if patients is None or patients.origin == "--group-regex":
        return {}
    first = {name: path for path, _ in reversed(samples) if (name := patients.names.get(path))}
    return {name: first[name] for name in sorted(shown)}


def _read(file: ImageSource, as_seen: Preprocessing | None) -> _Image | ImageError:
    try:
        scan, origin = load_with_origin(file)
    except ImageError as error:
        return error
    image = scan.image
    facts = image_facts(scan, origin) if as_seen is None else facts_of_input(to_pixels(scan, as_seen))
    digest, bits = pixel_digest(image), perceptual_hash(image)
    return _Image(image.width, image.height, origin.mode, origin.format, digest, bits, facts)


def _groups(samples: Sequence[Sample], facts: Mapping[str, _Image], numbers: Sequence[int]) -> list[list[Sample]]:
    """Returns the groups of near duplicates by their numbers, without groups of exact copies only."""
    groups: dict[int, list[Sample]] = {}
    for sample, number in zip(samples, numbers, strict=True):
        groups.setdefault(number, []).append(sample)
    return [group for group in groups.values() if len({facts[sample.path].digest for sample in group}) > 1]


def _range(values: Sequence[int]) -> tuple[int, int, int]:
    if not values:
        return (0, 0, 0)
    return min(values), int(np.median(values)), max(values)
