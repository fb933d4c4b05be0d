"""Reads a data set folder: which images there are, of which class, in which split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctonnx import schema
from ctonnx.errors import DataError
from ctonnx.images import looks_like_image
from ctonnx_train.classes import class_name
from ctonnx_train.data_set import DataSet, counted, quoted, refuse_unknown_names
from ctonnx_train.medmnist import read_medmnist
from ctonnx_train.phantom import MARKER
from ctonnx_train.splits import SPLITS, Sample, Split

__all__ = ["read_data"]

_SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}


def read_data(
    root: Path, *, class_names: Mapping[str, str] | None = None, classes: Sequence[str] | None = None
) -> DataSet:
    """Reads a folder with `train`, `valid` and `test` folders of class folders, or with class folders alone, or a file.

    Args:
        root: the data set; a `Data` folder inside it is entered. Or a MedMNIST `.npz` file.
        class_names: canonical names for class folders that the built-in rules do not know, by the folder's name.
        classes: of the model that is to be evaluated, in its order: the data set need not have all of them, nor
            training images. None takes the training images' classes.

    Raises:
        DataError: there is no such data set, it has fewer than two classes, or classes that training does not know.
    """
    if root.is_file() and root.suffix.lower() == ".npz":
        return read_medmnist(root, class_names=class_names, classes=classes)
    if not root.is_dir():
        raise DataError(
            f"expected a data folder or a MedMNIST .npz file at '{root}', found "
            f"{'another file' if root.exists() else 'nothing'}; check the path"
        )
    synthetic = _is_synthetic(root)
    if not _split_folders(root) and (inner := _inner_data(root)):
        root = inner
    with_splits, found = _class_folders(root, needs_train=classes is None)
    names = _names(root, found, class_names or {})
    known_by = "training folder" if classes is None else "model"
    if classes is None:
        classes = _classes(root, {names[folder.name] for folder in found["train"]})
    if unknown := sorted(set(names.values()) - set(classes)):
        raise DataError(
            f"expected only the {known_by}'s classes ({quoted(classes)}) in every split of '{root}', "
            f"found {quoted(unknown)} too; rename the folder or use --class-name OLD=NEW"
        )
    files = {
        split: [(folder, file) for folder in folders for file in _files(folder)] for split, folders in found.items()
    }
    splits = {
        split: tuple(
            sorted(
                Sample(file.relative_to(root).as_posix(), classes.index(names[folder.name]))
                for folder, file in files[split]
                if looks_like_image(file)
            )
        )
        for split in SPLITS
    }
    wanted = [split for split in SPLITS if split == "valid" or (split == "test" and not with_splits)]
    return DataSet(
        root=root,
        classes=tuple(classes),
        folder_classes=names,
        splits=splits,
        to_make=tuple(split for split in wanted if not splits[split]),
        passed_over=sum(not looks_like_image(file) for pairs in files.values() for _, file in pairs),
        synthetic=synthetic or _is_synthetic(root),
    )


def _class_folders(root: Path, *, needs_train: bool) -> tuple[bool, dict[Split, list[Path]]]:
    """Returns whether there are folders for splits, and the class folders of each split."""
    split_folders = _split_folders(root)
    found: dict[Split, list[Path]] = {split: [] for split in SPLITS}
    for folder in split_folders or [root]:
        split = _SPLIT_NAMES[folder.name.lower()] if split_folders else "train"
        for inner in _folders(folder):
            files = _files(inner)
            if files and not any(looks_like_image(file) for file in files):
                raise DataError(
                    f"expected images in the class folder '{inner}', found {counted(len(files), 'other file')} "
                    f"('{files[0].name}' first); convert them to PNG, or move the folder out of the data set"
                )
            found[split] += [inner] if files else []
    has_train = any(_SPLIT_NAMES[folder.name.lower()] == "train" for folder in split_folders)
    if needs_train and split_folders and not has_train:
        raise DataError(f"expected a 'train' folder in '{root}' beside {quoted(split_folders)}, found none")
    return bool(split_folders), found


def _names(root: Path, found: Mapping[Split, list[Path]], class_names: Mapping[str, str]) -> dict[str, str]:
    """Returns the canonical name for each class folder's name."""
    folders = {folder.name for folders in found.values() for folder in folders}
    refuse_unknown_names(class_names, folders, root)
    return {folder: class_names.get(folder) or class_name(folder) for folder in sorted(folders)}


def _classes(root: Path, trained: set[str]) -> tuple[str, ...]:
    """Returns the training folder's classes, in order."""
    if len(trained) < 2:
        inside = next((folder for folder in _folders(root) if _split_folders(folder)), None)
        hint = (
            f"did you mean '{inside}'?"
            if inside
            else "lay the images out as DATA/train/CLASS/*.png or DATA/CLASS/*.png"
        )
        raise DataError(
            f"expected two or more class folders with images in '{root}', found {quoted(sorted(trained)) or 'none'}; "
            f"{hint}"
        )
    return tuple(sorted(trained))


def _inner_data(root: Path) -> Path | None:
    """Returns the `Data` folder in which some downloads wrap the data set."""
    folders = _folders(root)
    inner = next((folder for folder in folders if folder.name.lower() == "data"), None)
    return inner if inner and (len(folders) == 1 or _split_folders(inner)) else None


def _split_folders(root: Path) -> list[Path]:
    return [folder for folder in _folders(root) if folder.name.lower() in _SPLIT_NAMES]


def _folders(folder: Path) -> list[Path]:
    return sorted(inner for inner in folder.iterdir() if inner.is_dir() and not inner.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    """Returns the files below a folder, without hidden ones and those in hidden folders."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def _is_synthetic(root: Path) -> bool:
    try:
        return schema.load(_Marker, root / MARKER).synthetic
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class _Marker:
    synthetic: bool
