"""`prepare`: from a data set as it was found to images in memory and splits that can be trusted."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tqdm import tqdm

from ctonnx.errors import DataError
from ctonnx.images import Preprocessing
from ctonnx.system.text import Log, counted
from ctonnx_train.data.dataset import Dataset
from ctonnx_train.data.leakage import Leaks, drop_leaks, find_leaks, group_names, group_numbers, leaked_samples
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.sources import open_source
from ctonnx_train.data.splits import SPLITS, Sample, Split, take_splits
from ctonnx_train.training.loop.distributed import is_main_process
from ctonnx_train.training.recipe import TrainSettings

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A data set that is ready for the training.

    Attributes:
        data: with the splits that are used.
        store: The images.
        rows: The store's rows of each split's samples.
        leaks: what stood in the data set more than once.
        leaked_valid: Validation samples with a copy, or an image of their group, in the training split that is used.
        groups: The number of each image's group, by path, where groups were asked for: copies are of one group too.
        fingerprint: SHA-256 over each image's split, class and pixels; names, order and formats of files do not matter.
    """

    data: Dataset
    store: PixelStore
    rows: Mapping[Split, Sequence[int]]
    leaks: Leaks
    fingerprint: str
    leaked_valid: frozenset[Sample] = frozenset()
    groups: Mapping[str, int] | None = None

    def group_numbers(self, split: Split) -> list[int] | None:
        """Returns the number of the group of each of a split's samples, or None where no groups were asked for."""
        return None if self.groups is None else [self.groups[sample.path] for sample in self.data.splits[split]]

    def labels(self, split: Split) -> list[int]:
        """Returns the class index of each of a split's samples."""
        return [sample.label for sample in self.data.splits[split]]


def prepare(found: Dataset, settings: TrainSettings, preprocessing: Preprocessing, log: Log) -> Prepared:
    """Decodes a data set's images, makes the splits that it lacks, and finds and drops what leaks.

    Args:
        found: as it was read.
        settings: Seed, groups, what to drop, how much to keep in memory.
        preprocessing: The network's input.
        log: Called with each progress message.

    Raises:
        DataError: Images cannot be read, or a class has too few.
    """
    samples = found.samples
    names = group_names(samples, settings.group_regex)
    disable = None if is_main_process() else True
    with tqdm(total=len(samples), desc="reading images", unit="image", leave=False, disable=disable) as bar:
        limit = int(settings.cache_gb * 1e9 / settings.devices)  # each process keeps its own
        store = PixelStore(open_source(found.root), samples, preprocessing, limit=limit, progress=bar.update)
    if store.kept < len(store):
        log(f"kept in memory: {store.kept} of {len(store)} images (--cache-gb); the others are decoded each time")
    if settings.group_regex is not None:
        log(f"groups by --group-regex: {len(set(names.values()))}, of {len(names)} of {len(samples)} images")
    splits: Mapping[Split, tuple[Sample, ...]] = found.splits
    groups = group_numbers(samples, store.digests, names)
    if found.to_make:
        splits = take_splits(splits, found.to_make, found.classes, settings.seed, groups)
    leaks = find_leaks(splits, store.digests, names)
    if leaks.groups or any(leaks.leaked.values()):
        log(f"warning: {leaks.sentence()}")
    if settings.drop_leaks:
        kept = drop_leaks(splits, store.digests, names)
        leaks = replace(leaks, dropped={split: len(splits[split]) - len(kept[split]) for split in SPLITS})
        splits = kept
        log("dropped: " + ", ".join(f"{count} of {split}" for split, count in leaks.dropped.items()))
    elif any(leaks.leaked.values()):
        log("warning: figures on these splits flatter; --drop-leaks keeps the leaked files out")
    data = replace(found, splits=splits)
    _check(data)
    for split, counts in data.counts().items():
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        images = sum(counts.values())
        log(f"{split}: {counted(images, 'image')} ({shown})" if images else f"{split}: no images")
        for name in (name for name, count in counts.items() if split in found.to_make and not count):
            log(f"warning: the made split '{split}' has no image of '{name}': its images are in few and large groups")
    row = {sample.path: position for position, sample in enumerate(samples)}
    return Prepared(
        data=data,
        store=store,
        rows={split: [row[sample.path] for sample in splits[split]] for split in SPLITS},
        leaks=leaks,
        fingerprint=_fingerprint(data, store.digests),
        leaked_valid=frozenset(leaked_samples(splits, "valid", store.digests, names)),
        groups=groups if settings.group_regex else None,
    )


def _check(data: Dataset) -> None:
    """Raises DataError where what is left cannot be trained on."""
    counts = data.counts()
    for name, count in counts["train"].items():
        if not count:
            raise DataError(
                f"expected training images of every class, found none of '{name}' once those with several labels were "
                "dropped; audit the data set: ctonnx data audit"
            )
    if not any(counts["valid"].values()):
        raise DataError(
            "expected validation images, found that all of them have copies among the training images and were "
            "dropped; leave the 'valid' folder out, and a split is made"
        )


def _fingerprint(data: Dataset, digests: Mapping[str, str]) -> str:
    lines = sorted(
        f"{split}/{data.classes[sample.label]}/{digests[sample.path]}\n"
        for split, samples in data.splits.items()
        for sample in samples
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
