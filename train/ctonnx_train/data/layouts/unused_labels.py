"""Finds a labels file in a dataset folder that is read without it, whose folders may be patients, not classes."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ctonnx.errors import DataError
from ctonnx.system.text import counted, quoted
from ctonnx_train.data.layouts.class_names import class_name
from ctonnx_train.data.layouts.labels_file import labelled_files
from ctonnx_train.data.layouts.layout import wrapping_folders

__all__ = ["find_labels_file", "hint_at", "note_on"]

_USUAL_NAME = "labels.csv"
_SUFFIX = ".csv"
_LONGEST_HEADER = 1 << 16


def find_labels_file(top: Path) -> Path | None:
    """Returns `labels.csv`, or the only other CSV file with the columns `path` and `label`; None if there is none.

    Args:
        top: Dataset folder as given by the user; folders that only wrap the dataset are searched next.
    """
    if not top.is_dir():
        return None
    for folder in wrapping_folders(top):
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() == _SUFFIX and file.is_file())
        found = [file for file in files if _has_columns(file)]
        if usual := [file for file in found if file.name.lower() == _USUAL_NAME]:
            return usual[0]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _has_columns(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8-sig") as opened:
            header = opened.readline(_LONGEST_HEADER)
    except (OSError, UnicodeDecodeError):
        return False
    return {"path", "label"} <= {field.strip(' "\r\n').lower() for field in re.split("[,;\t]", header)}


def hint_at(file: Path, *, middle: str = "") -> str:
    """Returns a sentence that names a labels file and its option."""
    return f"'{file}' looks like a labels file{middle}: use it with --labels {shlex.quote(os.fspath(file))}"


def note_on(file: Path, images: Mapping[Path, Sequence[str]], *, are_named: bool) -> str | None:
    """Returns a note on an unused labels file; None if it has a row for none of the images.

    Args:
        file: Labels file, from `find_labels_file`.
        images: Paths of the images in each class folder.
        are_named: Whether the user named class folders, which are classes then, whatever is in the file.

    Raises:
        DataError: The folders are not the classes: none has the name of a label, and they do not separate the labels.
    """
    note = hint_at(file, middle=" and is not used")
    try:
        labelled = labelled_files(file)
    except DataError:  # --labels reports the fault
        return note
    labels_in = {folder: _labels(folder, files, labelled) for folder, files in images.items()}
    labels_in = {folder: labels for folder, labels in labels_in.items() if labels}
    if not labels_in:
        return None
    classes = sorted(set[str]().union(*labels_in.values()))
    names = {folder.name for folder in labels_in}
    pairs = {(folder.name, label) for folder, labels in labels_in.items() for label in labels}
    are_separate = len(pairs) == len(names) == len(classes)
    if are_named or are_separate or {class_name(name) for name in names} & {class_name(label) for label in classes}:
        return note
    # Names of folders may be identifiers of patients. The caller names the file.
    raise DataError(
        f"expected folders of the classes ({quoted(classes)}) in '{file.parent}', found "
        f"{counted(len(names), 'other folder')}; if they are the classes, name them with --class-name or move the "
        "labels file"
    )


def _labels(folder: Path, files: Sequence[str], labelled: Mapping[str, str]) -> set[str]:
    """Returns the labels of a folder's images in the labels file."""
    there, start = folder.resolve(), len(os.path.join(folder, ""))
    found = (labelled.get(os.path.normpath(os.path.join(there, file[start:]))) for file in files)
    return {label for label in found if label}
