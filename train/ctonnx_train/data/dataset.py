"""A data set before its images are read: which there are, of which class, in which split."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ctonnx.errors import DataError
from ctonnx.system.text import Log, quoted
from ctonnx_train.data.splits import Sample, Split

__all__ = ["Dataset", "check_class_names", "describe"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set on the disk.

    Attributes:
        root: The folder that the samples' paths start from, or the `.npz` file.
        classes: Canonical class names; a sample's label is an index into them.
        folder_classes: for each class folder's name, or each class's number, the canonical name that it was given.
        splits: The samples of `train`, `valid` and `test`; `test` may be empty, and those in `to_make` are.
        to_make: The splits that are not there and are to be taken from the training images.
        skipped: how many files are no image of a class.
        synthetic: Whether the folder is a generated phantom set.
        notes: Sentences on what was not taken by the letter: splits under other names, files that were passed over.
    """

    root: Path
    classes: tuple[str, ...]
    folder_classes: Mapping[str, str]
    splits: Mapping[Split, tuple[Sample, ...]]
    to_make: tuple[Split, ...]
    skipped: int
    synthetic: bool
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples of all splits."""
        return tuple(sample for samples in self.splits.values() for sample in samples)

    def counts(self) -> dict[str, dict[str, int]]:
        """Returns, for each split, how many images each class has."""
        return {
            split: {name: sum(sample.label == label for sample in samples) for label, name in enumerate(self.classes)}
            for split, samples in self.splits.items()
        }


def check_class_names(class_names: Mapping[str, str], found: Iterable[str], root: Path) -> None:
    """Raises DataError where `--class-name` speaks of a class folder that the data set does not have."""
    found = sorted(found)
    if unused := set(class_names) - set(found):
        raise DataError(
            f"expected a class folder named '{min(unused)}' in '{root}', found {quoted(found)}; check --class-name"
        )


def describe(data: Dataset, log: Log) -> None:
    """Says how a data set was understood."""
    if data.synthetic:
        log("note: these images are synthetic phantoms; nothing learned from them means anything for patients")
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
