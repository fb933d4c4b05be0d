"""Sources of a dataset's images: files below a folder, or the arrays of a MedMNIST `.npz` file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from ctonnx.errors import DataError
from ctonnx.images.source import ImageSource
from ctonnx.system import file_reading

__all__ = ["ArraySource", "FolderSource", "Source", "open_source", "read_arrays"]


class Source(Protocol):
    """Access to the images of the dataset in `root` by the paths of its samples."""

    root: Path

    def image(self, path: str) -> ImageSource:
        """Returns the input of `ctonnx.images.load` for a sample's image."""

    def has(self, path: str) -> bool:
        """Returns whether the image exists."""


class FolderSource:
    """Image files below a folder; a sample's path is relative to it, with forward slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def image(self, path: str) -> Path:
        """Returns the file's path."""
        return self.root / path

    def has(self, path: str) -> bool:
        """Returns whether the file exists."""
        return self.image(path).is_file()


class ArraySource:
    """Arrays of a MedMNIST `.npz` file; a sample's path is an array's name and a row, such as `train_images/17`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._arrays = {name: array for name, array in read_arrays(root).items() if name.endswith("_images")}

    def image(self, path: str) -> NDArray[Any]:
        """Returns a row of an array: uint8 [height, width] or [height, width, 1 or 3]."""
        name, _, row = path.rpartition("/")
        image: NDArray[Any] = self._arrays[name][int(row)]
        return image

    def has(self, path: str) -> bool:
        """Returns whether the array has the row."""
        name, _, row = path.rpartition("/")
        return name in self._arrays and row.isdecimal() and int(row) < len(self._arrays[name])


def open_source(root: Path) -> Source:
    """Returns the source of a dataset's images.

    Raises:
        DataError: An `.npz` file cannot be read.
    """
    return ArraySource(root) if root.is_file() else FolderSource(root)


def read_arrays(file: Path) -> Mapping[str, NDArray[Any]]:
    """Returns the arrays of an `.npz` file by name, without unpickling.

    Raises:
        DataError: The file is damaged or not an `.npz` file.
    """
    try:
        return file_reading.read_arrays(file)
    except (OSError, ValueError, MemoryError) as error:
        detail = file_reading.reason_of(error) if isinstance(error, OSError) else error or "too large for the memory"
        raise DataError(
            f"expected a data folder or a MedMNIST .npz file at '{file}', found a file that cannot be read as one "
            f"({detail}); check the path, or download it again"
        ) from error
