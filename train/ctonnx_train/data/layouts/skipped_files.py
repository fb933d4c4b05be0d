"""Files of a dataset folder that are not images of a class, counted and reported so that none is dropped silently."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ctonnx.prediction.inputs import is_scan, list_files
from ctonnx.system.text import counted
from ctonnx_train.data.layouts.layout import Layout
from ctonnx_train.data.phantom.phantom_set import MARKER

__all__ = ["SkippedFiles", "find_skipped_files"]


@dataclass(frozen=True, kw_only=True)
class SkippedFiles:
    """Number of a dataset's skipped files, and a sentence per kind of file with its number and an example."""

    files: int
    notes: Sequence[str]


class _Kind(NamedTuple):
    noun: str
    place: str = ""


def find_skipped_files(top: Path, layout: Layout, images: Mapping[Path, Collection[str]]) -> SkippedFiles:
    """Finds all files below the user's folder that are not images of its classes."""
    listing = list_files(top)
    taken = {file for found in images.values() for file in found}
    kinds: dict[_Kind, list[str]] = {}
    places: dict[str, Path | None] = {}
    for file in listing.files:
        folder, name = os.path.split(file)
        if file in taken or (name == MARKER and Path(folder) in (top, layout.root)):
            continue
        if folder not in places:
            places[folder] = _stranger(Path(folder), layout, images)
        kinds.setdefault(_kind(file, top, places[folder], layout), []).append(file)
    if hidden := [file for path in listing.ignored for file in _files_of(path)]:
        kinds[_Kind("hidden or system file")] = hidden
    notes = [
        f"skipped: {counted(len(files), kind.noun)}{kind.place} ('{_shown(files[0], top)}' first)"
        for kind, files in kinds.items()
    ]
    empty = [folder for folder in images if not list_files(folder).files]
    notes += [f"folder '{_shown(folder, top)}' is empty: it is not a class" for folder in empty]
    return SkippedFiles(files=sum(map(len, kinds.values())), notes=notes)


def _stranger(folder: Path, layout: Layout, images: Collection[Path]) -> Path | None:
    """Returns the outermost of a folder and its parents that is not part of the layout, or None."""
    outermost = None
    while folder not in layout.entered:
        if folder in images:
            return None
        outermost, folder = folder, folder.parent
    return outermost


def _kind(file: str, top: Path, stranger: Path | None, layout: Layout) -> _Kind:
    if stranger is not None:
        return _Kind("file", f" in '{_shown(stranger, top)}', which is not part of the dataset")
    folder = Path(file).parent
    if folder in layout.entered and is_scan(file):
        return _Kind("image", f" in '{_shown(folder, top)}' itself, in no class folder")
    return _Kind("other file")


def _files_of(path: str) -> list[str]:
    if Path(path).is_symlink() or not Path(path).is_dir():
        return [path]
    return [os.path.join(root, name) for root, _, files in os.walk(path) for name in files]


def _shown(path: str | Path, top: Path) -> str:
    return Path(path).relative_to(top).as_posix() if Path(path) != top else os.fspath(top)
