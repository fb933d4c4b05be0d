"""Checks of class folders: each contains images of one class, not a dataset of its own."""

import itertools
import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ctonnx.errors import DataError
from ctonnx.prediction.inputs import is_scan, list_files
from ctonnx_train.data.layouts.class_names import class_name
from ctonnx_train.data.layouts.layout import folders_in, quoted_names, wrapping_folders
from ctonnx_train.data.layouts.split_names import is_split, parts_of

__all__ = ["reject_datasets_in_classes", "reject_splits_in_class"]

_MASKS = re.compile(r"\b(masks?|labels?|segmentations?|segs?|annotations?|ground ?truths?|gt)\b")


def reject_datasets_in_classes(folders: Iterable[Path], named: Collection[str], classes: Sequence[str] | None) -> None:
    """Raises DataError if class folders of a split contain folders of several of the classes, or all the same folders.

    `named` and `classes` are those of `ctonnx_train.data.layouts.layout.find_layout`.
    """
    for _, siblings in itertools.groupby(folders, lambda folder: folder.parent):
        group = list(siblings)
        _reject_dataset_among_classes(group)
        _reject_dataset_in_each_class(group, named, classes)


def reject_splits_in_class(folder: Path, files: Iterable[str], named: Collection[str]) -> None:
    """Raises DataError if a class folder contains splits or folds, such as `normal/train` and `normal/test`.

    Deeper folders may be named `test`, as a patient's test and retest are, but not next to another split.
    """
    parents = {Path(parent) for parent in {os.path.split(file)[0] for file in files}}
    paths = {path for parent in parents for path in (parent, *parent.parents) if path.is_relative_to(folder)} - {folder}
    siblings: dict[Path, list[str]] = {}
    for path in sorted(paths):
        if path.name not in named:
            siblings.setdefault(path.parent, []).append(path.name)
    for parent, names in siblings.items():
        roles = {name: part.role for name, part in sorted(parts_of(names).items()) if not part.rest and part.is_strict}
        if roles and (parent == folder or len(set(roles.values())) > 1):
            first = parent / next(iter(roles))
            if parent == folder and folders_in(first):
                advice = f"did you mean '{folder}'?"
            else:
                advice = f"lay the images out as DATA/train/{folder.name}, or rename the folder if it is not a split"
            raise DataError(
                f"expected images of one split in the class folder '{folder}', found the folder "
                f"'{first.relative_to(folder).as_posix()}', which is named like a split; {advice}"
            )


def _reject_dataset_among_classes(folders: Sequence[Path]) -> None:
    """Raises DataError if one of the class folders contains folders of several of the classes."""
    # Short names and numbers may be patients or scanners, not only classes.
    known = {name for folder in folders if len(re.findall("[^\\W\\d_]", name := class_name(folder.name))) > 2}
    for folder in folders:
        inside = [child for child in folders_in(folder) if class_name(child.name) in known]
        if len({class_name(child.name) for child in inside}) > 1:
            raise DataError(
                f"expected images of one class in '{folder}', found folders of several ({quoted_names(inside)}); "
                "move it out of the dataset, or give it the name of a split, such as 'test', next to a 'train' folder"
            )


def _reject_dataset_in_each_class(
    folders: Sequence[Path], named: Collection[str], classes: Sequence[str] | None
) -> None:
    """Raises DataError if class folders contain the same classes: they are splits, or hospitals, with other names."""
    inside = {folder: _words_in(folder) for folder in folders}
    for first, second in itertools.combinations(folders, 2):
        shared = inside[first].keys() & inside[second].keys()
        # Numbered folders, such as `patient 1` and `patient 2`, have one word in common.
        if len({inside[first][name][0] for name in shared}) < 2:
            continue
        alike = [folder for folder in folders if shared <= inside[folder].keys()]
        are_classes = classes is not None and {class_name(folder.name) for folder in alike} <= set(classes)
        if named and {folder.name for folder in alike} & set(named):
            continue
        inner = [inside[first][name][1] for name in sorted(shared)]
        masks = [folder for folder in inner if _MASKS.search(class_name(folder.name))]
        if (are_classes and not masks) or sum(_has_images(folder) for folder in inner) < 2:
            continue
        advice = (
            f"move {quoted_names(masks)} out of the dataset, as masks would be trained on; if all are images of the "
            "class, name it"
            if masks
            else "name the outer folders as splits, 'train', 'valid' and 'test', or pass one of them as the dataset; "
            "if they are the classes, name them"
        )
        raise DataError(
            f"expected folders DATA/train/CLASS or DATA/CLASS in '{first.parent}', found the folders "
            f"{quoted_names(inner)} in each of {quoted_names(alike)}; {advice}: --class-name '{first.name}=NAME'"
        )


def _words_in(folder: Path) -> dict[str, tuple[str, Path]]:
    """Returns the letters and the path of each folder in a class folder that may be a class, by class name."""
    inner = [path for path in folders_in(wrapping_folders(folder)[-1]) if not is_split(path.name)]
    letters = {path: "".join(re.findall(r"[^\W\d_]", class_name(path.name))) for path in inner}
    return {class_name(path.name): (letters[path], path) for path in inner if len(letters[path]) > 2}


def _has_images(folder: Path) -> bool:
    return any(map(is_scan, list_files(folder).files))
