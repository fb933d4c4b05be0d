"""Sources of images: the files of a folder, or the rows of arrays in an `.npz` file."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ctonnx.errors import DataError
from ctonnx_train.data.sources import ArraySource, FolderSource, open_source, read_arrays


def arrays() -> dict[str, NDArray[Any]]:
    ramp = np.arange(2 * 28 * 28 * 3) % 251
    return {
        "train_images": ramp[: 3 * 28 * 28].reshape(3, 28, 28).astype(np.uint8),
        "train_labels": np.array([[0], [1], [0]]),
        "test_images": ramp.reshape(2, 28, 28, 3).astype(np.uint8),
    }


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    np.savez_compressed(tmp_path / "set.npz", allow_pickle=False, **arrays())
    return tmp_path / "set.npz"


def rejected(file: Path) -> str:
    """Returns the reason in the middle of the error message."""
    before = f"expected a data folder or a MedMNIST .npz file at '{file}', found a file that cannot be read as one ("
    after = "); check the path, or download it again"
    with pytest.raises(DataError, match=f"^{re.escape(before)}.+{re.escape(after)}$") as caught:
        read_arrays(file)
    return str(caught.value).removeprefix(before).removesuffix(after)


def test_folder_gives_the_paths_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / "scan 1.png").touch()
    source = open_source(tmp_path)
    assert isinstance(source, FolderSource)
    assert source.root == tmp_path
    assert source.image("train/a/scan 1.png") == tmp_path / "train" / "a" / "scan 1.png"
    assert [source.has(path) for path in ("train/a/scan 1.png", "train/a/scan 2.png", "train/a")] == [
        True,
        False,
        False,
    ]


def test_npz_file_gives_the_rows_of_its_arrays(npz: Path) -> None:
    source = open_source(npz)
    assert isinstance(source, ArraySource)
    assert source.root == npz
    np.testing.assert_array_equal(source.image("train_images/2"), arrays()["train_images"][2])
    np.testing.assert_array_equal(source.image("test_images/0"), arrays()["test_images"][0])


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("train_images/0", True),
        ("train_images/2", True),
        ("train_images/3", False),
        ("train_images/-1", False),
        ("train_images/first", False),
        ("train_images/", False),
        ("train_images", False),
        ("val_images/0", False),
        ("train_labels/0", False),
        ("train/a/1.png", False),
    ],
)
def test_npz_source_knows_its_images(path: str, there: bool, npz: Path) -> None:
    assert ArraySource(npz).has(path) is there


def test_arrays_are_read_by_name(npz: Path) -> None:
    read = read_arrays(npz)
    assert list(read) == list(arrays())
    for name, array in arrays().items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype


def one_array(file: Path) -> None:
    with file.open("wb") as opened:
        np.save(opened, np.zeros(3))


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def bytes_changed(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[100:150] = b"\xff" * 50
    file.write_bytes(content)


def bytes_of_an_uncompressed_array_changed(file: Path) -> None:
    np.savez(file, allow_pickle=False, **arrays())
    bytes_changed(file)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_text("label,file\n", encoding="utf-8"),
        lambda file: file.unlink(),
        one_array,
        cut_short,
        bytes_changed,
        bytes_of_an_uncompressed_array_changed,
    ],
    ids=["empty", "text", "missing", "one array", "cut short", "compressed bytes changed", "bytes changed"],
)
def test_damaged_and_other_files_are_rejected(spoil: Callable[[Path], object], npz: Path) -> None:
    spoil(npz)
    assert rejected(npz)


def test_objects_in_a_file_are_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", allow_pickle=True, train_images=np.array([Path], object))
    assert rejected(tmp_path / "set.npz") == "Object arrays cannot be loaded when allow_pickle=False"
