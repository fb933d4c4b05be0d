"""Reads a data set folder: which images there are, of which class, in which split."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ctonnx.errors import DataError
from ctonnx.images import looks_like_image
from ctonnx_train.classes import class_name
from ctonnx_train.phantom import MARKER
from ctonnx_train.splits import SPLITS, Sample, Split, take_splits

__all__ = ["DataFolder", "read_data_folder"]

_SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, kw_only=True)
class DataFolder:
    """A data set on the disk.

    Attributes:
        root: the folder that the samples' paths start from.
        classes: canonical class names, sorted; a sample's label is an index into them.
        folder_classes: for each class folder's name, the canonical name that it was given.
        splits: the samples of `train`, `valid` and `test`, sorted by path; `test` may be empty.
        made_splits: which splits were not there as folders and were taken from the training images.
        passed_over: how many files in the class folders do not have an image's name.
        synthetic: whether the folder is a generated phantom set.
    """

    root: Path
    classes: tuple[str, ...]
    folder_classes: Mapping[str, str]
    splits: Mapping[Split, tuple[Sample, ...]]
    made_splits: tuple[Split, ...]
    passed_over: int
    synthetic: bool

    def counts(self) -> dict[str, dict[str, int]]:
        """Returns, for each split, how many images each class has."""
        return {
            split: {name: sum(sample.label == label for sample in samples) for label, name in enumerate(self.classes)}
            for split, samples in self.splits.items()
        }

    def fingerprint(self, progress: Callable[[int], object] | None = None) -> str:
        """Returns a SHA-256 over every image's split, class and content; names and order of the files do not matter.

        Args:
            progress: called with 1 after each file.
        """
        lines = []
        for split, samples in self.splits.items():
            for sample in samples:
                with (self.root / sample.path).open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
                lines.append(f"{split}/{self.classes[sample.label]}/{content}\n")
                if progress:
                    progress(1)
        return hashlib.sha256("".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()


def read_data_folder(root: Path, *, class_names: Mapping[str, str] | None = None, seed: int = 0) -> DataFolder:
    """Reads a folder with `train`, `valid` and `test` folders of class folders, or with class folders alone.

    A split without a folder (other than `test`, where there are folders for splits at all) is taken from the training
    images, stratified by class.

    Args:
        root: the data set; a `Data` folder inside it is entered.
        class_names: canonical names for class folders that the built-in rules do not know, by the folder's name.
        seed: of the splits that are made here.

    Raises:
        DataError: the folder is missing, has no class folders, fewer than two classes, or too few images to split.
    """
    if not root.is_dir():
        raise DataError(
            f"expected a data folder at '{root}', found {'a file' if root.exists() else 'nothing'}; check the path"
        )
    synthetic = _is_synthetic(root)
    if not _split_folders(root) and (inner := _inner_data(root)):
        root = inner
    with_splits, found = _class_folders(root)
    names = _names(root, found, class_names or {})
    classes = _classes(root, {names[folder.name] for folder in found["train"]}, set(names.values()))
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
    made = tuple(split for split in wanted if not splits[split])
    return DataFolder(
        root=root,
        classes=classes,
        folder_classes=names,
        splits=take_splits(splits, made, classes, seed),
        made_splits=made,
        passed_over=sum(not looks_like_image(file) for pairs in files.values() for _, file in pairs),
        synthetic=synthetic or _is_synthetic(root),
    )


def _class_folders(root: Path) -> tuple[bool, dict[Split, list[Path]]]:
    """Returns whether there are folders for splits, and the class folders of each split."""
    split_folders = _split_folders(root)
    found: dict[Split, list[Path]] = {split: [] for split in SPLITS}
    for folder in split_folders or [root]:
        split = _SPLIT_NAMES[folder.name.lower()] if split_folders else "train"
        for inner in _folders(folder):
            files = _files(inner)
            if files and not any(looks_like_image(file) for file in files):
                raise DataError(
                    f"expected images in the class folder '{inner}', found {len(files)} other files ('{files[0].name}' "
                    "first); convert them to PNG, or move the folder out of the data set"
                )
            found[split] += [inner] if files else []
    if split_folders and not any(_SPLIT_NAMES[folder.name.lower()] == "train" for folder in split_folders):
        raise DataError(f"expected a 'train' folder in '{root}' beside {_quoted(split_folders)}, found none")
    return bool(split_folders), found


def _names(root: Path, found: Mapping[Split, list[Path]], class_names: Mapping[str, str]) -> dict[str, str]:
    """Returns the canonical name for each class folder's name."""
    folders = {folder.name for folders in found.values() for folder in folders}
    if unused := set(class_names) - folders:
        raise DataError(
            f"expected a class folder named '{min(unused)}' in '{root}', found {_quoted(sorted(folders))}; "
            "check --class-name"
        )
    return {folder: class_names.get(folder) or class_name(folder) for folder in sorted(folders)}


def _classes(root: Path, trained: set[str], everywhere: set[str]) -> tuple[str, ...]:
    """Returns the training folder's classes, in order, which must be all that there are."""
    if len(trained) < 2:
        inside = next((folder for folder in _folders(root) if _split_folders(folder)), None)
        hint = (
            f"did you mean '{inside}'?"
            if inside
            else "lay the images out as DATA/train/CLASS/*.png or DATA/CLASS/*.png"
        )
        raise DataError(
            f"expected two or more class folders with images in '{root}', found {_quoted(trained) or 'none'}; {hint}"
        )
    if unknown := sorted(everywhere - trained):
        raise DataError(
            f"expected only the training folder's classes ({_quoted(sorted(trained))}) in every split of '{root}', "
            f"found {_quoted(unknown)} too; rename the folder or use --class-name OLD=NEW"
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
        return bool(json.loads((root / MARKER).read_text(encoding="utf-8"))["synthetic"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _quoted(names: Iterable[object]) -> str:
    return ", ".join(f"'{name}'" for name in names)
