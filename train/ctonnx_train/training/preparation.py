"""Dataset preparation: decoding, splits and leakage removal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tqdm import tqdm

from ctonnx.artifacts.decision.brightness import BrightnessRange
from ctonnx.artifacts.report_schema import Shortcuts
from ctonnx.errors import DataError
from ctonnx.images import Preprocessing
from ctonnx.system.files import sha256_of
from ctonnx.system.text import Log, counted, quoted
from ctonnx_train.audit.training_images import (
    audit_training_images,
    choose_described,
    describe_image,
    sees_input,
)
from ctonnx_train.data.dataset import Dataset
from ctonnx_train.data.layouts.patient_sources import find_patients
from ctonnx_train.data.leakage import Leaks, drop_leaks, find_leaks, group_numbers, leaked_samples
from ctonnx_train.data.patients import Patients
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.sources import open_source
from ctonnx_train.data.splits import SPLITS, Sample, Split, take_splits
from ctonnx_train.training.loop.distributed import is_main_process
from ctonnx_train.training.recipe import TrainSettings

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A dataset that is ready for the training.

    Attributes:
        data: Dataset with the final splits.
        store: Images of the dataset.
        rows: Rows of the store for the samples of each split.
        leaks: Copies and leaked images in the dataset.
        leaked_valid: Validation samples with a copy, or an image of their group, in the final training set.
        groups: Number of each image's group, by path, or None without groups. Copies belong to one group.
        patients: Patients of the images; None if they are unknown.
        brightness: Range of the mean grey values of the training images.
        shortcuts: Facts of the training images that predict the class; None in all processes but the main one.
        acquisition: Medians of the training images' facts; None in all processes but the main one.
        fingerprint: SHA-256 over the split, class and pixels of each image; names, order and formats do not matter.
    """

    data: Dataset
    store: PixelStore
    rows: Mapping[Split, Sequence[int]]
    leaks: Leaks
    fingerprint: str
    leaked_valid: frozenset[Sample] = frozenset()
    groups: Mapping[str, int] | None = None
    patients: Patients | None = None
    brightness: BrightnessRange | None = None
    shortcuts: Shortcuts | None = None
    acquisition: Mapping[str, Any] | None = None

    def group_numbers(self, split: Split) -> list[int] | None:
        """Returns the number of the group of each sample of a split, or None without groups."""
        return None if self.groups is None else [self.groups[sample.path] for sample in self.data.splits[split]]

    def labels(self, split: Split) -> list[int]:
        """Returns the class index of each sample of a split."""
        return [sample.label for sample in self.data.splits[split]]


def prepare(found: Dataset, settings: TrainSettings, preprocessing: Preprocessing, log: Log) -> Prepared:
    """Decodes the images of a dataset, makes missing splits, and finds and optionally drops leaked images.

    Raises:
        DataError: If images cannot be read, or a class has too few images.
    """
    samples = found.samples
    patients = find_patients(found, samples, settings.group_regex, log)
    names = patients.names if patients else {}
    disable = None if is_main_process() else True
    with tqdm(total=len(samples), desc="reading images", unit="image", leave=False, disable=disable) as bar:
        limit = int(settings.cache_gb * 1e9 / settings.devices)  # each process keeps its own images
        store = PixelStore(
            open_source(found.root),
            samples,
            preprocessing,
            limit=limit,
            describe=partial(describe_image, preprocessing=preprocessing),
            described=choose_described(len(samples), seed=settings.seed) if is_main_process() else (),
            progress=bar.update,
        )
    if store.kept < len(store):
        log(f"kept in memory: {store.kept} of {len(store)} images (--cache-gb); the others are decoded each time")
    splits: Mapping[Split, tuple[Sample, ...]] = found.splits
    groups = group_numbers(samples, store.digests, names)
    if found.to_make:
        splits = take_splits(splits, found.to_make, found.classes, settings.seed, groups, by_patient=bool(names))
    leaks = find_leaks(splits, store.digests, names)
    if leaks.groups or any(leaks.leaked.values()):
        log(f"warning: {leaks.sentence()}")
    if settings.drop_leaks:
        kept = drop_leaks(splits, store.digests, names)
        leaks = replace(leaks, dropped={split: len(splits[split]) - len(kept[split]) for split in SPLITS})
        splits = kept
        log("dropped: " + ", ".join(f"{count} of {split}" for split, count in leaks.dropped.items()))
    elif any(leaks.leaked.values()):
        log("warning: metrics on these splits are optimistic; --drop-leaks removes the leaked files")
    data = replace(found, splits=splits)
    _check(data)
    for split, counts in data.counts().items():
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        images = sum(counts.values())
        log(f"{split}: {counted(images, 'image')} ({shown})" if images else f"{split}: no images")
        for name in (name for name, count in counts.items() if split in found.to_make and not count):
            log(f"warning: the new split '{split}' has no image of '{name}': its images are in few and large groups")
    shortcuts, acquisition = None, None
    if is_main_process():
        shortcuts, acquisition = audit_training_images(
            store.descriptions,
            splits["train"],
            found.classes,
            names,
            of_input=sees_input(preprocessing),
            seed=settings.seed,
        )
        store.descriptions.clear()
        _log_shortcuts(shortcuts, preprocessing, log)
    row = {sample.path: position for position, sample in enumerate(samples)}
    return Prepared(
        data=data,
        store=store,
        rows={split: [row[sample.path] for sample in splits[split]] for split in SPLITS},
        leaks=leaks,
        fingerprint=_fingerprint(data, store.digests),
        leaked_valid=frozenset(leaked_samples(splits, "valid", store.digests, names)),
        groups=groups if patients else None,
        patients=patients,
        brightness=store.brightness(splits["train"]),
        shortcuts=shortcuts,
        acquisition=acquisition,
    )


def _log_shortcuts(shortcuts: Shortcuts, preprocessing: Preprocessing, log: Log) -> None:
    """Logs the classes with the worst verdict, if facts other than the anatomy predict some."""
    verdict = shortcuts["verdict"]
    if verdict in ("some", "strong"):
        names = quoted(name for name, of in shortcuts["classes"].items() if of["verdict"] == verdict)
        title = "warning: strong shortcuts" if verdict == "strong" else "shortcuts"
        seen, command = "", "ctonnx data audit DATA"
        if sees_input(preprocessing):
            seen = " in what the network sees"
            command += f" --as-seen --crop {preprocessing.crop} --resize {preprocessing.resize}"
        log(f"{title}{seen}: facts other than the anatomy predict {names}; see: {command}")


def _check(data: Dataset) -> None:
    """Raises DataError if a class has no training images left, or there are no validation images."""
    counts = data.counts()
    for name, count in counts["train"].items():
        if not count:
            raise DataError(
                f"expected training images of every class, found none of '{name}' once those with several labels were "
                "dropped; audit the dataset: ctonnx data audit"
            )
    if not any(counts["valid"].values()):
        raise DataError(
            "expected validation images, found that all of them have copies among the training images and were "
            "dropped; remove the 'valid' folder, and a split is made"
        )


def _fingerprint(data: Dataset, digests: Mapping[str, str]) -> str:
    lines = sorted(
        f"{split}/{data.classes[sample.label]}/{digests[sample.path]}\n"
        for split, samples in data.splits.items()
        for sample in samples
    )
    return sha256_of("".join(lines).encode())
