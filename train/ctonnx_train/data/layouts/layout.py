"""Layout of a dataset folder: its split folders, class folders and other folders."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctonnx.errors import DataError
from ctonnx.prediction.inputs import is_ignored, list_files
from ctonnx.system.text import quoted
from ctonnx_train.data.layouts.class_names import class_name
from ctonnx_train.data.layouts.split_names import Part, is_split, is_wrapper, part_of, parts_of
from ctonnx_train.data.splits import SPLITS, Split

__all__ = ["Layout", "find_layout", "first_with_splits", "folders_in", "quoted_names", "wrapping_folders"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Locations of a dataset's classes.

    Attributes:
        root: Folder of the split folders or the class folders.
        entered: Folders of the split folders and class folders; files directly in them belong to no class.
        notes: Sentences on folders with unusual names.
    """

    root: Path
    classes: Mapping[Split, Sequence[Path]]
    entered: Sequence[Path]
    has_splits: bool
    notes: Sequence[str]


def find_layout(top: Path, *, named: Collection[str], classes: Sequence[str] | None) -> Layout:
    """Finds the split folders and the class folders of a dataset.

    Args:
        top: Folder as given by the user; folders that only wrap the dataset, such as `Data`, are entered.
        named: Names of folders that the user declares as classes.
        classes: Classes of the model to evaluate, which needs no training images; None for training.

    Raises:
        DataError: The layout is not supported or ambiguous.
    """
    entered = wrapping_folders(top)
    root = entered[-1]
    folders = folders_in(root)
    by_name = parts_of([folder.name for folder in folders if folder.name not in named])
    parts = {folder: by_name[folder.name] for folder in folders if folder.name in by_name}
    _reject_folds(root, parts)
    splits = _splits(root, parts)
    notes = [
        f"folder '{folder.name}' is read as the split '{split}'"
        for folder, split in splits.items()
        if folder.name.lower() != split
    ]
    found: dict[Split, list[Path]] = {split: [] for split in SPLITS}
    if splits:
        _reject_mixture(root, splits, [folder for folder in folders if folder not in splits], classes)
    for folder, split in (splits or {root: "train"}).items():
        inside = wrapping_folders(folder, parts[folder]) if splits else []
        entered += inside
        inner = folders_in(inside[-1]) if splits else folders
        for child in inner:
            if child.name not in named and (part := part_of(child.name)):
                if splits:
                    _reject_split_name(child, part)
                notes.append(f"folder '{child.relative_to(top).as_posix()}' is read as a class, not as a split")
        found[split] += inner
    return Layout(root=root, classes=found, entered=entered, has_splits=bool(splits), notes=notes)


def folders_in(folder: Path) -> list[Path]:
    """Returns the folders in a folder, sorted, without hidden folders and those of operating systems."""
    try:
        inner = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    except OSError as error:
        raise DataError(
            f"expected to read every folder, could not open '{folder}' ({(error.strerror or '').lower()}); "
            "fix its permissions or move it out of the dataset"
        ) from error
    return sorted(folder / name for name in inner if not is_ignored(name, is_folder=True))


def first_with_splits(folders: Iterable[Path]) -> Path | None:
    """Returns the first of the folders that contains a split folder."""
    return next((folder for folder in folders if any(is_split(child.name) for child in folders_in(folder))), None)


def wrapping_folders(folder: Path, outer: Part | None = None) -> list[Path]:
    """Returns the folder and the nested folders that only wrap its content: `Data`, or its own name or split again."""
    entered = [folder]
    while True:
        folder = entered[-1]
        inner = folders_in(folder)
        parts = parts_of([child.name for child in inner])
        if any(not part.rest and not _same(part, outer) for part in parts.values()):
            return entered
        for child in inner:
            is_repeated = child.name.lower() == folder.name.lower() or _same(part_of(child.name), outer)
            has_splits = any(not part.rest for part in parts_of([path.name for path in folders_in(child)]).values())
            wraps = (is_wrapper(child.name) and (has_splits or len(inner) == 1)) or (is_repeated and len(inner) == 1)
            if wraps and folders_in(child) and child.resolve() not in {path.resolve() for path in entered}:
                entered.append(child)
                break
        else:
            return entered


def _same(part: Part | None, outer: Part | None) -> bool:
    return part is not None and outer is not None and not part.rest and part.role == outer.role


def _splits(root: Path, parts: Mapping[Path, Part]) -> dict[Path, Split]:
    """Returns the split of each split folder; `lung_train` and `lung_test` are grouped by the rest of their names."""
    groups: dict[str, dict[Path, Part]] = {}
    for folder, part in parts.items():
        groups.setdefault(part.rest, {})[folder] = part
    groups = {
        rest: group for rest, group in groups.items() if not rest or len({part.role for part in group.values()}) > 1
    }
    if "" not in groups and len(groups) > 1:
        several = [folder for group in groups.values() for folder in group]
        raise DataError(
            f"expected folders DATA/train/CLASS in '{root}', found the splits in the class folders' names "
            f"({quoted_names(several)}); make a folder for each split, with a folder for each class in it"
        )
    chosen = groups.get("") or next(iter(groups.values()), {})
    if unclear := [folder for folder, part in chosen.items() if part.role == "several"]:
        raise DataError(
            f"expected folders of one split each in '{root}', found {quoted_names(unclear)}, whose name contains "
            "several; rename it"
        )
    numbers = {role: {part.number for part in chosen.values() if part.role == role} - {""} for role in SPLITS}
    if len(numbers["train"]) > 1 and numbers["train"] & (numbers["valid"] | numbers["test"]):
        raise _folds(root, list(chosen))
    return {folder: split for split in SPLITS for folder in sorted(chosen) if chosen[folder].role == split}


def _reject_folds(root: Path, parts: Mapping[Path, Part]) -> None:
    groups: dict[str, list[Path]] = {}
    for folder, part in parts.items():
        if part.role == "fold" and (part.is_strict or not part.rest):
            groups.setdefault(part.rest, []).append(folder)
    if found := groups.get("") or [folder for group in groups.values() if len(group) > 1 for folder in group]:
        raise _folds(root, found)


def _folds(root: Path, folders: Sequence[Path]) -> DataError:
    inside = first_with_splits(folders)
    advice = f"pass one of them, such as '{inside}', or " if inside else ""
    return DataError(
        f"expected one division into train, valid and test in '{root}', found the folds {quoted_names(folders)}; "
        f"{advice}put those to train on into a 'train' folder, and the others into 'valid' or 'test'"
    )


def _reject_split_name(folder: Path, part: Part) -> None:
    """Raises DataError if a folder at the place of a class folder is named like a split or a fold."""
    if not part.rest:
        kind = "a fold" if part.role == "fold" else "a split"
        raise DataError(
            f"expected class folders in '{folder.parent}', found '{folder.name}', which is named like {kind}; move it "
            f"next to '{folder.parent.name}', or if it is a class, name it: --class-name '{folder.name}=NAME'"
        )


def _reject_mixture(
    root: Path, splits: Mapping[Path, Split], others: Sequence[Path], classes: Sequence[str] | None
) -> None:
    """Raises DataError if there is no `train` folder, but class folders next to other splits, or if it is required.

    Other folders next to a `train` folder are skipped and reported.
    """
    if "train" in splits.values():
        return
    filled = [folder for folder in others if list_files(folder).files]
    if mixed := [folder for folder in filled if classes is None or class_name(folder.name) in classes]:
        name = next(iter(splits)).name
        inner = mixed[0] if len(mixed) == 1 and len(folders_in(mixed[0])) > 1 else None
        advice = f"did you mean '{inner}'? Otherwise put" if inner else "put"
        raise DataError(
            f"expected split folders or class folders in '{root}', found {quoted_names(splits)} next to "
            f"{quoted_names(mixed)}; {advice} the class folders into a 'train' folder, or move '{name}' out of the "
            f"dataset; if it is a class, name it: --class-name '{name}=NAME'"
        )
    if classes is None:
        raise DataError(f"expected a 'train' folder in '{root}' next to {quoted(sorted(splits))}, found none")


def quoted_names(folders: Iterable[Path]) -> str:
    """Returns the quoted names of folders, for a message."""
    return quoted(folder.name for folder in folders)
