"""A data set before its images are read: which there are, of which class, in which split."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ctonnx.errors import DataError
from ctonnx_train.splits import Sample, Split

__all__ = ["DataSet", "counted", "quoted", "refuse_unknown_names"]


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set on the disk.

    Attributes:
        root: the folder that the samples' paths start from, or the `.npz` file.
        classes: canonical class names; a sample's label is an index into them.
        folder_classes: for each class folder's name, or each class's number, the canonical name that it was given.
        splits: the samples of `train`, `valid` and `test`; `test` may be empty, and those in `to_make` are.
        to_make: the splits that are not there and are to be taken from the training images.
        passed_over: how many files are no image of a class.
        synthetic: whether the folder is a generated phantom set.
        notes: Sentences on what was not taken by the letter: splits under other names, files that were passed over.
    """

    root: Path
    classes: tuple[str, ...]
    folder_classes: Mapping[str, str]
    splits: Mapping[Split, tuple[Sample, ...]]
    to_make: tuple[Split, ...]
    passed_over: int
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


def refuse_unknown_names(class_names: Mapping[str, str], found: Iterable[str], root: Path) -> None:
    """Raises DataError where `--class-name` speaks of a class folder that the data set does not have."""
    found = sorted(found)
    if unused := set(class_names) - set(found):
        raise DataError(
            f"expected a class folder named '{min(unused)}' in '{root}', found {quoted(found)}; check --class-name"
        )


def quoted(names: Iterable[object]) -> str:
    """Returns names for a message: `'a', 'b'`."""
    return ", ".join(f"'{name}'" for name in names)


def counted(count: int, noun: str) -> str:
    """Returns a number of things for a message: `1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
