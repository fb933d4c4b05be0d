"""Where a data set's images come from: files below a folder, or the arrays of a MedMNIST `.npz` file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from ctonnx.errors import DataError
from ctonnx.images.source import ImageSource
from ctonnx.system import file_reading

__all__ = ["ArraySource", "FolderSource", "Source", "open_source", "read_arrays"]


class Source(Protocol):
    """Gives the images that a data set's samples name by their path."""

    @property
    def root(self) -> Path:
        """The folder or file that the data set was read from."""

    def image(self, path: str) -> ImageSource:
        """Returns what `ctonnx.images.load` turns into the sample's image."""

    def has(self, path: str) -> bool:
        """Says whether there is such an image."""


class FolderSource:
    """Image files below a folder; a sample's path is relative to it, with forward slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def image(self, path: str) -> Path:
        """Returns the file's path."""
        return self.root / path

    def has(self, path: str) -> bool:
        """Says whether the file is there."""
        return self.image(path).is_file()


class ArraySource:
    """The arrays of a MedMNIST `.npz` file; a sample's path is an array's name and a row, as `train_images/17`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._arrays = {name: array for name, array in read_arrays(root).items() if name.endswith("_images")}

    def image(self, path: str) -> NDArray[Any]:
        """Returns the row of the array: uint8 [height, width] or [height, width, 1 or 3]."""
        name, _, row = path.rpartition("/")
        image: NDArray[Any] = self._arrays[name][int(row)]
        return image

    def has(self, path: str) -> bool:
        """Says whether the array has such a row."""
        name, _, row = path.rpartition("/")
        return name in self._arrays and row.isdecimal() and int(row) < len(self._arrays[name])


def open_source(root: Path) -> Source:
    """Returns the source of the images of a data set that was read from `root`.

    Raises:
        DataError: An `.npz` file cannot be read.
    """
    return ArraySource(root) if root.is_file() else FolderSource(root)


def read_arrays(file: Path) -> Mapping[str, NDArray[Any]]:
    """Returns the arrays of an `.npz` file by name; nothing in it is unpickled.

    Raises:
        DataError: it is not an `.npz` file, or is damaged.
    """
    try:
        return file_reading.read_arrays(file)
    except (OSError, ValueError, MemoryError) as error:
        detail = file_reading.reason_of(error) if isinstance(error, OSError) else error or "too large for the memory"
        raise DataError(
            f"expected a data folder or a MedMNIST .npz file at '{file}', found a file that cannot be read as one "
            f"({detail}); check the path, or download it again"
        ) from error
