"""Reads a data set folder: which images there are, of which class, in which split."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ctonnx.errors import DataError
from ctonnx.images import looks_like_image
from ctonnx_train.classes import class_name
from ctonnx_train.phantom import MARKER

__all__ = ["SPLITS", "DataFolder", "Sample", "Split", "read_data_folder"]

Split: TypeAlias = Literal["train", "valid", "test"]

SPLITS: tuple[Split, ...] = ("train", "valid", "test")
_SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
_VALID_SHARE = 0.15
_TEST_SHARE = 0.15


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    Attributes:
        path: relative to the data folder's root, with forward slashes.
        label: index of its class.
    """

    path: str
    label: int


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
        return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


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
    outer = root
    if not _split_folders(root) and (inner := next((d for d in _folders(root) if d.name.lower() == "data"), None)):
        root = inner
    split_folders = _split_folders(root)
    if split_folders and "train" not in split_folders:
        raise DataError(f"expected a 'train' folder in '{root}' beside {_quoted(split_folders.values())}, found none")
    found = {split: _class_folders(folder) for split, folder in (split_folders or {"train": root}).items()}
    names = {
        folder.name: _canonical(folder.name, class_names or {}) for folders in found.values() for folder in folders
    }
    if unused := set(class_names or {}) - set(names):
        raise DataError(
            f"expected a class folder named '{min(unused)}' in '{root}', found {_quoted(names)}; check --class-name"
        )
    classes = tuple(sorted({names[folder.name] for folder in found["train"]}))
    if len(classes) < 2:
        raise DataError(
            f"expected two or more class folders with images in '{root}', found {_quoted(classes) or 'none'}; "
            "lay the images out as DATA/train/CLASS/*.png or DATA/CLASS/*.png"
        )
    if unknown := sorted(set(names.values()) - set(classes)):
        raise DataError(
            f"expected only the training folder's classes ({_quoted(classes)}) in every split of '{root}', found "
            f"{_quoted(unknown)} too; rename the folder or use --class-name OLD=NEW"
        )
    splits: dict[Split, tuple[Sample, ...]] = dict.fromkeys(SPLITS, ())
    for split, folders in found.items():
        samples = [
            Sample(file.relative_to(root).as_posix(), classes.index(names[folder.name]))
            for folder in folders
            for file in _files(folder)
            if looks_like_image(file)
        ]
        splits[split] = tuple(sorted(samples, key=lambda sample: sample.path))
    made: tuple[Split, ...] = tuple(
        split for split in SPLITS if not splits[split] and (split == "valid" or (split == "test" and not split_folders))
    )
    if "test" in made:
        splits["train"], splits["test"] = _take(splits["train"], _TEST_SHARE, seed, classes)
    if "valid" in made:
        share = _VALID_SHARE / (1 - _TEST_SHARE) if "test" in made else _VALID_SHARE
        splits["train"], splits["valid"] = _take(splits["train"], share, seed, classes)
    return DataFolder(
        root=root,
        classes=classes,
        folder_classes=names,
        splits=splits,
        made_splits=made,
        passed_over=sum(
            not looks_like_image(file) for folders in found.values() for folder in folders for file in _files(folder)
        ),
        synthetic=_is_synthetic(outer) or _is_synthetic(root),
    )


def _split_folders(root: Path) -> dict[Split, Path]:
    return {
        _SPLIT_NAMES[folder.name.lower()]: folder for folder in _folders(root) if folder.name.lower() in _SPLIT_NAMES
    }


def _class_folders(folder: Path) -> list[Path]:
    return [inner for inner in _folders(folder) if any(looks_like_image(file) for file in _files(inner))]


def _folders(folder: Path) -> list[Path]:
    return sorted(inner for inner in folder.iterdir() if inner.is_dir() and not inner.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))


def _canonical(folder: str, class_names: Mapping[str, str]) -> str:
    return class_names[folder] if folder in class_names else class_name(folder)


def _take(
    samples: tuple[Sample, ...], share: float, seed: int, classes: tuple[str, ...]
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Splits off a share of the samples, stratified by class."""
    from sklearn.model_selection import train_test_split

    labels = [sample.label for sample in samples]
    for label, name in enumerate(classes):
        if labels.count(label) < 2:
            raise DataError(
                f"expected at least 2 images of each class to take a validation split from, found "
                f"{labels.count(label)} of '{name}'; add images, or make 'train' and 'valid' folders"
            )
    count = max(round(share * len(samples)), len(classes))
    if len(samples) - count < len(classes):
        raise DataError(
            f"expected at least {2 * len(classes)} training images to split, found {len(samples)}; "
            "add images, or make 'train' and 'valid' folders"
        )
    kept, taken = train_test_split(list(samples), test_size=count, random_state=seed, stratify=labels)
    return tuple(sorted(kept, key=lambda s: s.path)), tuple(sorted(taken, key=lambda s: s.path))


def _is_synthetic(root: Path) -> bool:
    try:
        return bool(json.loads((root / MARKER).read_text(encoding="utf-8"))["synthetic"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _quoted(names: Iterable[object]) -> str:
    return ", ".join(f"'{name}'" for name in names)
