"""A dataset before its images are read: their paths, classes and splits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ctonnx.errors import DataError
from ctonnx.system.text import Log, quoted
from ctonnx_train.data.splits import Sample, Split, Splits

__all__ = ["Dataset", "check_class_names", "describe"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset on disk.

    Attributes:
        root: Folder that the samples' paths are relative to, or the `.npz` file.
        folder_classes: Canonical class name for each class folder's name, or each class's number.
        splits: Samples of `train`, `valid` and `test`; `test` may be empty, and the splits in `to_make` are.
        to_make: Missing splits to create from the training images.
        passed_over: Number of skipped files: those that are not images of a class.
        notes: Sentences on splits with other names, skipped files and the like.
    """

    root: Path
    classes: tuple[str, ...]
    folder_classes: Mapping[str, str]
    splits: Splits
    to_make: tuple[Split, ...]
    passed_over: int
    synthetic: bool
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples of all splits."""
        return tuple(sample for samples in self.splits.values() for sample in samples)

    def counts(self) -> dict[str, dict[str, int]]:
        """Returns the number of images of each class in each split."""
        return {
            split: {name: sum(sample.label == label for sample in samples) for label, name in enumerate(self.classes)}
            for split, samples in self.splits.items()
        }


def check_class_names(class_names: Mapping[str, str], found: Iterable[str], root: Path) -> None:
    """Raises DataError if `--class-name` names a class folder that the dataset does not have."""
    found = sorted(found)
    if unused := set(class_names) - set(found):
        raise DataError(
            f"expected a class folder named '{min(unused)}' in '{root}', found {quoted(found)}; check --class-name"
        )


def describe(data: Dataset, log: Log) -> None:
    """Logs how a dataset was read."""
    if data.synthetic:
        log("note: these images are synthetic phantoms; a model trained on them has no clinical meaning")
    for name, canonical in sorted(data.folder_classes.items()):
        if name != canonical:
            log(f"class folder '{name}' is read as '{canonical}'")
    if data.to_make:
        log(
            f"no folder for {' and '.join(data.to_make)}: taken from the training images, stratified by class, copies "
            "and groups kept together"
        )
    for note in data.notes:
        log(note)
