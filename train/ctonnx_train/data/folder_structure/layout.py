"""How a data folder is laid out: which folders are splits, which are classes, and what is neither."""

import itertools
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctonnx.errors import DataError
from ctonnx.prediction.inputs import is_leaving, is_scan, list_files
from ctonnx.system.text import quoted
from ctonnx_train.data.folder_structure.class_names import class_name
from ctonnx_train.data.folder_structure.split_names import Part, is_wrapper, part_of, parts_of
from ctonnx_train.data.splits import SPLITS, Split

__all__ = ["Layout", "find_layout", "folders_in", "reject_splits_in_class"]

_MASKS = re.compile(r"\b(masks?|labels?|segmentations?|segs?|annotations?|ground ?truths?|gt)\b")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a data set's classes are.

    Attributes:
        root: The folder that holds the split folders or the class folders.
        classes: The class folders of each split.
        entered: The folders that hold these and nothing else of the data set: files in them belong to no class.
        has_splits: Whether there are split folders.
        notes: Sentences on folders that were not taken by the letter.
    """

    root: Path
    classes: Mapping[Split, Sequence[Path]]
    entered: Sequence[Path]
    has_splits: bool
    notes: Sequence[str]


def find_layout(top: Path, *, named: Collection[str], classes: Sequence[str] | None) -> Layout:
    """Finds the split folders and the class folders of a data set.

    Args:
        top: The folder as the user named it; folders that wrap the data set, as `Data`, are entered.
        named: Names of folders that the user says are classes.
        classes: Of the model to evaluate, which needs no training images; None for a training.

    Raises:
        DataError: The layout is none that is read, or may be read in two ways.
    """
    entered = _wrapped(top)
    root = entered[-1]
    folders = folders_in(root)
    said = parts_of([folder.name for folder in folders if folder.name not in named])
    parts = {folder: said[folder.name] for folder in folders if folder.name in said}
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
        inside = _wrapped(folder, parts[folder]) if splits else []
        entered += inside
        inner = folders_in(inside[-1]) if splits else folders
        for child in inner:
            if child.name not in named and (part := part_of(child.name)):
                if splits:
                    _reject_split_name(child, part)
                notes.append(f"folder '{child.relative_to(top).as_posix()}' is taken for a class, not for a split")
        _reject_dataset_among_classes(inner)
        _reject_dataset_in_each_class(inner, named, classes)
        found[split] += inner
    return Layout(root=root, classes=found, entered=entered, has_splits=bool(splits), notes=notes)


def folders_in(folder: Path) -> list[Path]:
    """Returns the folders in a folder, in order, without those that are hidden or that systems leave."""
    try:
        inner = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    except OSError as error:
        raise DataError(
            f"expected to read every folder, could not open '{folder}' ({(error.strerror or '').lower()}); "
            "mend its permissions or move it out of the data set"
        ) from error
    return sorted(folder / name for name in inner if not is_leaving(name, is_folder=True))


def reject_splits_in_class(folder: Path, files: Iterable[str], named: Collection[str]) -> None:
    """Raises DataError where a class folder holds splits or folds, as `normal/train` and `normal/test`.

    Deeper folders may be called `test` alone, as a patient's test and retest are; not beside another split.

    Args:
        folder: Of a class.
        files: All files below it.
        named: Names of folders that the user says are classes.
    """
    parents = {Path(parent) for parent in {os.path.split(file)[0] for file in files}}
    paths = {path for parent in parents for path in (parent, *parent.parents) if path.is_relative_to(folder)} - {folder}
    inside: dict[Path, dict[str, Path]] = {}
    beside: dict[Path, list[str]] = {}
    for path in sorted(paths):
        if path.name not in named:
            beside.setdefault(path.parent, []).append(path.name)
    for parent, names in beside.items():
        for name, part in sorted(parts_of(names).items()):
            if not part.rest and part.is_strict:
                inside.setdefault(parent, {}).setdefault(part.role, parent / name)
    for parent, roles in inside.items():
        if parent == folder or len(roles) > 1:
            first = next(iter(roles.values()))
            if parent == folder and folders_in(first):
                advice = f"did you mean '{folder}'?"
            else:
                advice = f"lay the images out as DATA/train/{folder.name}, or rename the folder if it is no split"
            raise DataError(
                f"expected images of one split in the class folder '{folder}', found the folder "
                f"'{first.relative_to(folder).as_posix()}', which is named as a split is; {advice}"
            )


def _wrapped(folder: Path, outer: Part | None = None) -> list[Path]:
    """Returns the folder, and those in it that wrap all that it holds: `Data`, or its own name or split again."""
    entered = [folder]
    while True:
        folder = entered[-1]
        inner = folders_in(folder)
        parts = parts_of([child.name for child in inner])
        if any(not part.rest and not _same(part, outer) for part in parts.values()):
            return entered
        for child in inner:
            again = child.name.lower() == folder.name.lower() or _same(part_of(child.name), outer)
            has_splits = any(not part.rest for part in parts_of([path.name for path in folders_in(child)]).values())
            wraps = (len(inner) == 1 and (again or is_wrapper(child.name))) or (has_splits and is_wrapper(child.name))
            if wraps and folders_in(child) and child.resolve() not in {path.resolve() for path in entered}:
                entered.append(child)
                break
        else:
            return entered


def _is_split(name: str) -> bool:
    part = part_of(name)
    return part is not None and not part.rest


def _same(part: Part | None, outer: Part | None) -> bool:
    return part is not None and outer is not None and not part.rest and part.role == outer.role


def _splits(root: Path, parts: Mapping[Path, Part]) -> dict[Path, Split]:
    """Returns the split of each split folder; where names hold more, as `lung_train` and `lung_test`, by the rest."""
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
            f"({_names(several)}); make a folder for each split, with a folder for each class in it"
        )
    chosen = groups.get("") or next(iter(groups.values()), {})
    if unclear := [folder for folder, part in chosen.items() if part.role == "several"]:
        raise DataError(
            f"expected folders of one split each in '{root}', found {_names(unclear)}, whose name holds several; "
            "rename it"
        )
    numbers = {role: {part.number for part in chosen.values() if part.role == role} - {""} for role in SPLITS}
    if len(numbers["train"]) > 1 and numbers["train"] & (numbers["valid"] | numbers["test"]):
        raise _folds(root, list(chosen))
    order = sorted(chosen.items(), key=lambda item: (SPLITS.index(_split(item[1])), item[0]))
    return {folder: _split(part) for folder, part in order}


def _split(part: Part) -> Split:
    return next(split for split in SPLITS if split == part.role)


def _reject_folds(root: Path, parts: Mapping[Path, Part]) -> None:
    folds = {folder: part for folder, part in parts.items() if part.role == "fold"}
    plain = [folder for folder, part in folds.items() if not part.rest]
    numbers: dict[str, list[Path]] = {}
    for folder, part in folds.items():
        if part.is_strict:
            numbers.setdefault(part.rest, []).append(folder)
    if found := plain or [folder for group in numbers.values() if len(group) > 1 for folder in group]:
        raise _folds(root, found)


def _folds(root: Path, folders: Sequence[Path]) -> DataError:
    inside = next((folder for folder in folders if any(_is_split(child.name) for child in folders_in(folder))), None)
    advice = f"name one of them, as '{inside}', or " if inside else ""
    return DataError(
        f"expected one division into train, valid and test in '{root}', found the folds {_names(folders)}; {advice}put "
        "those to train on into a 'train' folder, and the others into 'valid' or 'test'"
    )


def _reject_split_name(folder: Path, part: Part) -> None:
    """Raises DataError where what should be a class folder is called as a split or a fold is."""
    if not part.rest:
        kind = "a fold" if part.role == "fold" else "a split"
        raise DataError(
            f"expected class folders in '{folder.parent}', found '{folder.name}', which is named as {kind} is; move it "
            f"beside '{folder.parent.name}', or if it is a class, say which: --class-name '{folder.name}=NAME'"
        )


def _reject_mixture(
    root: Path, splits: Mapping[Path, Split], others: Sequence[Path], classes: Sequence[str] | None
) -> None:
    """Raises DataError where class folders lie beside split folders of which none is `train`, or where that is missing.

    Beside a `train` folder, they are neither: what is not taken is told.
    """
    if "train" in splits.values():
        return
    filled = [folder for folder in others if list_files(folder).files]
    if mixed := [folder for folder in filled if classes is None or class_name(folder.name) in classes]:
        name = next(iter(splits)).name
        inner = mixed[0] if len(mixed) == 1 and len(folders_in(mixed[0])) > 1 else None
        advice = f"did you mean '{inner}'? Else put" if inner else "put"
        raise DataError(
            f"expected split folders or class folders in '{root}', found {_names(splits)} beside {_names(mixed)}; "
            f"{advice} the class folders into a 'train' folder, or move '{name}' out of the data set; if it is a "
            f"class, say which: --class-name '{name}=NAME'"
        )
    if classes is None:
        raise DataError(f"expected a 'train' folder in '{root}' beside {quoted(sorted(splits))}, found none")


def _reject_dataset_among_classes(folders: Sequence[Path]) -> None:
    """Raises DataError where one of the class folders holds folders of several of the classes."""
    # Patients and scanners have short names and numbers, as classes may have too.
    known = {name for folder in folders if len(re.findall("[^\\W\\d_]", name := class_name(folder.name))) > 2}
    for folder in folders:
        inside = [child for child in folders_in(folder) if class_name(child.name) in known]
        if len({class_name(child.name) for child in inside}) > 1:
            raise DataError(
                f"expected images of one class in '{folder}', found folders of several ({_names(inside)}); "
                "move it out of the data set, or give it a split's name, as 'test', beside a 'train' folder"
            )


def _reject_dataset_in_each_class(
    folders: Sequence[Path], named: Collection[str], classes: Sequence[str] | None
) -> None:
    """Raises DataError where class folders hold the same classes: splits or hospitals under names that say it not."""
    inside = {folder: _words_in(folder) for folder in folders}
    for first, second in itertools.combinations(folders, 2):
        shared = inside[first].keys() & inside[second].keys()
        # Numbered folders, as `patient 1` and `patient 2`, are of one word.
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
        say_so = f"say so: --class-name '{first.name}=NAME'"
        advice = (
            f"move {_names(masks)} out of the data set, as masks would be trained on; if all are images of the class, "
            if masks
            else "name the outer folders as splits, 'train', 'valid' and 'test', or name one of them as the data set; "
            "if they are the classes, "
        )
        raise DataError(
            f"expected folders DATA/train/CLASS or DATA/CLASS in '{first.parent}', found the folders {_names(inner)} "
            f"in each of {_names(alike)}; {advice}{say_so}"
        )


def _words_in(folder: Path) -> dict[str, tuple[str, Path]]:
    """Returns, for the name of each folder in a class folder that may be a class's, its letters and the folder."""
    inner = {class_name(path.name): path for path in folders_in(_wrapped(folder)[-1]) if not _is_split(path.name)}
    letters = {name: "".join(re.findall(r"[^\W\d_]", name)) for name in inner}
    return {name: (letters[name], child) for name, child in inner.items() if len(letters[name]) > 2}


def _has_images(folder: Path) -> bool:
    return any(map(is_scan, list_files(folder).files))


def _names(folders: Iterable[Path]) -> str:
    return quoted(folder.name for folder in folders)
