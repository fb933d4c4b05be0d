"""A dataset before its images are read: their paths, classes and splits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ctonnx.errors import DataError
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.system.text import Log, quoted
from ctonnx_train.data.patients import Patients
from ctonnx_train.data.splits import Sample, Split, Splits

__all__ = ["Dataset", "check_class_names", "describe"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset on disk.

    Attributes:
        root: Folder that the samples' paths are relative to, or the `.npz` file.
        folder_classes: Canonical class name for each class folder's name, each class's number, or each label.
        splits: Samples of `train`, `valid` and `test`; `test` may be empty, and the splits in `to_make` are.
        to_make: Missing splits to create from the training images.
        passed_over: Number of skipped files: those that are not images of a class.
        notes: Sentences on splits with other names, skipped files and the like.
        labels_file: Labels file that describes the dataset; None for the other layouts.
        labelled_patients: Patients and subgroups in the labels file, without names if it has no column `patient`.
        pseudonyms: Pseudonyms of all identifiers of the dataset.
    """

    root: Path
    classes: tuple[str, ...]
    folder_classes: Mapping[str, str]
    splits: Splits
    to_make: tuple[Split, ...]
    passed_over: int
    synthetic: bool
    notes: tuple[str, ...] = ()
    labels_file: Path | None = None
    labelled_patients: Patients | None = None
    pseudonyms: Pseudonyms = field(default_factory=Pseudonyms, compare=False)

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
    """Raises DataError if `--class-name` names a class folder, or a label of a file, that the dataset does not have."""
    found = sorted(found)
    if unused := set(class_names) - set(found):
        kind = "label" if root.suffix.lower() == ".csv" else "class folder"
        raise DataError(
            f"expected a {kind} named '{min(unused)}' in '{root}', found {quoted(found)}; check --class-name"
        )


def describe(data: Dataset, log: Log) -> None:
    """Logs how a dataset was read."""
    if data.synthetic:
        log("note: these images are synthetic phantoms; a model trained on them has no clinical meaning")
    for name, canonical in sorted(data.folder_classes.items()):
        if name != canonical:
            log(f"{'class folder' if data.labels_file is None else 'label'} '{name}' is read as '{canonical}'")
    if data.to_make:
        log(
            f"no {'folder for' if data.labels_file is None else 'split'} {' and '.join(data.to_make)}: taken from the "
            "training images, stratified by class, copies and groups kept together"
        )
    for note in data.notes:
        log(note)
