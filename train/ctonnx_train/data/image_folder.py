"""Reads a dataset folder: paths, classes and splits of its images."""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ctonnx.errors import DataError
from ctonnx.prediction.inputs import is_scan, list_files
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.system.text import counted, quoted
from ctonnx_train.data.dataset import Dataset, check_class_names
from ctonnx_train.data.layouts.class_folders import reject_datasets_in_classes, reject_splits_in_class
from ctonnx_train.data.layouts.class_names import class_name, reject_collisions
from ctonnx_train.data.layouts.labels_file import read_labels_file
from ctonnx_train.data.layouts.layout import find_layout, first_with_splits, folders_in
from ctonnx_train.data.layouts.medmnist import read_medmnist
from ctonnx_train.data.layouts.skipped_files import find_skipped_files
from ctonnx_train.data.layouts.unused_labels import find_labels_file, hint_at, note_on
from ctonnx_train.data.phantom.phantom_set import is_phantom_set
from ctonnx_train.data.splits import SPLITS, Sample, Split

__all__ = ["read_data"]


def read_data(
    root: Path,
    *,
    class_names: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    known: Collection[str] = (),
    labels: Path | None = None,
    pseudonyms: Pseudonyms | None = None,
) -> Dataset:
    """Reads a MedMNIST file, or a folder with class folders or with `train`, `valid` and `test` folders of them.

    With a labels file, the folder's names mean nothing. Without one, a file in the folder that looks like one is named
    in a note, and in the error if the folders are not classes.

    Every file below the folder is an image of a class, or is counted as skipped and reported in the dataset's notes.

    Args:
        root: Dataset folder, in which a `Data` folder is entered; or a MedMNIST `.npz` file.
        class_names: Canonical class names by class folder, which is then a class even if it is named like a split.
        classes: Classes of the evaluated model, a superset of the dataset's; None uses those of the training images.
        known: Folders that `class_names` will contain when the dataset is read again, which may look alike.
        labels: Labels file of the images in `root`; see `ctonnx_train.data.layouts.labels_file`.
        pseudonyms: Pseudonyms of the dataset's identifiers; None uses a new key.

    Raises:
        DataError: The dataset is missing, its layout is ambiguous or not supported, or it has fewer than two classes
            or unknown classes.
    """
    pseudonyms = pseudonyms or Pseudonyms()
    if labels is not None:
        return read_labels_file(
            labels, root, class_names=class_names, classes=classes, known=known, pseudonyms=pseudonyms
        )
    if root.is_file() and root.suffix.lower() == ".npz":
        return read_medmnist(root, class_names=class_names, classes=classes)
    if not root.is_dir():
        raise DataError(
            f"expected a data folder or a MedMNIST .npz file at '{root}', found "
            f"{'another file' if root.exists() else 'nothing'}; "
            f"{'name a labels file with --labels' if root.suffix.lower() == '.csv' else 'check the path'}"
        )
    unused = find_labels_file(root)
    try:
        return _read_folders(root, class_names or {}, classes, known, pseudonyms, unused)
    except DataError as error:
        if unused is None:
            raise
        raise DataError(f"{error}; {hint_at(unused)}") from error


def _read_folders(
    top: Path,
    class_names: Mapping[str, str],
    classes: Sequence[str] | None,
    known: Collection[str],
    pseudonyms: Pseudonyms,
    unused: Path | None,
) -> Dataset:
    """Reads a folder with class folders; `unused` is a labels file in it, the rest as in `read_data`."""
    layout = find_layout(top, named=class_names, classes=classes)
    for folders in layout.classes.values():
        reject_datasets_in_classes(folders, class_names, classes)
    root = layout.root
    images = {folder: _images(folder) for folders in layout.classes.values() for folder in folders}
    skipped = find_skipped_files(top, layout, images)
    note = None if unused is None else note_on(unused, images, are_named=bool(class_names))
    found = {split: [folder for folder in folders if images[folder]] for split, folders in layout.classes.items()}
    names = _names(root, found, class_names, known)
    known_by = "training folder" if classes is None else "model"
    if classes is None:
        classes = _classes(root, {names[folder.name] for folder in found["train"]}, skipped.notes)
    for folder, inside in images.items():
        reject_splits_in_class(folder, inside, class_names)
    if unknown := sorted(set(names.values()) - set(classes)):
        elsewhere = "" if known_by == "training folder" else "; for other classes: ctonnx evaluate --external"
        raise DataError(
            f"expected only the {known_by}'s classes ({quoted(classes)}) in every split of '{root}', "
            f"found {quoted(unknown)} too; rename the folder or use --class-name OLD=NEW{elsewhere}"
        )
    splits: dict[Split, tuple[Sample, ...]] = {}
    prefix = os.path.join(root, "")
    for split, folders in found.items():
        labelled = [(file, classes.index(names[folder.name])) for folder in folders for file in images[folder]]
        splits[split] = tuple(
            sorted(Sample(file[len(prefix) :].replace(os.sep, "/"), label) for file, label in labelled)
        )
    wanted = [split for split in SPLITS if split == "valid" or (split == "test" and not layout.has_splits)]
    return Dataset(
        root=root,
        classes=tuple(classes),
        folder_classes=names,
        splits=splits,
        to_make=tuple(split for split in wanted if not splits[split]),
        passed_over=skipped.files,
        synthetic=is_phantom_set(top) or is_phantom_set(root),
        notes=(*layout.notes, *skipped.notes, *([note] if note else ())),
        pseudonyms=pseudonyms,
    )


def _images(folder: Path) -> list[str]:
    """Returns the images in a class folder: files with an image's suffix or an image's first bytes."""
    files = list_files(folder).files
    images = [file for file in files if is_scan(file)]
    if files and not images:
        raise DataError(
            f"expected images in the class folder '{folder}', found {counted(len(files), 'other file')} "
            f"('{Path(files[0]).name}' first); convert them to PNG, or move the folder out of the dataset"
        )
    return images


def _names(
    root: Path, found: Mapping[Split, Sequence[Path]], class_names: Mapping[str, str], known: Collection[str]
) -> dict[str, str]:
    """Returns the canonical name for each class folder's name."""
    folders = {folder.name for folders in found.values() for folder in folders}
    check_class_names(class_names, folders, root)
    for of_split in found.values():
        reject_collisions({folder.name for folder in of_split} - {*class_names, *known}, root)
    return {folder: class_names.get(folder) or class_name(folder) for folder in sorted(folders)}


def _classes(root: Path, trained: set[str], notes: Sequence[str]) -> tuple[str, ...]:
    """Returns the sorted classes of the training folder."""
    if len(trained) < 2:
        inside = first_with_splits(folders_in(root))
        layout = "lay the images out as DATA/train/CLASS/*.png or DATA/CLASS/*.png"
        hint = f"did you mean '{inside}'?" if inside else layout
        raise DataError(
            f"expected two or more class folders with images in '{root}', found {quoted(sorted(trained)) or 'none'}"
            f"{''.join(f' ({note})' for note in notes)}; {hint}"
        )
    return tuple(sorted(trained))
