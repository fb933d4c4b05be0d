"""Only regular files are opened; all others are rejected immediately."""

import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctonnx.system.file_reading import NotRegular, check_file, opened, read_arrays, read_bytes, read_text, reason_of


def pipe(folder: Path) -> Path:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def device(folder: Path) -> Path:
    if not Path("/dev/zero").exists():
        pytest.skip("this system has no /dev/zero")
    return Path("/dev/zero")


def link_to_a_device(folder: Path) -> Path:
    (folder / "link").symlink_to(device(folder))
    return folder / "link"


def read_opened(path: Path, *, most: int | None = None) -> bytes:
    with opened(path, most=most) as file:
        return file.read()


READERS: list[Callable[[Path], Any]] = [check_file, read_bytes, read_text, read_arrays, read_opened]


@pytest.mark.parametrize("read", READERS, ids=["check_file", "read_bytes", "read_text", "read_arrays", "opened"])
@pytest.mark.parametrize("make", [pipe, device, link_to_a_device])
def test_file_without_an_end_is_not_opened(
    make: Callable[[Path], Path], read: Callable[[Path], Any], tmp_path: Path
) -> None:
    with pytest.raises(NotRegular, match="not a regular file, so it is not opened") as caught:
        read(make(tmp_path))
    assert reason_of(caught.value) == "not a regular file, so it is not opened"


def looped(folder: Path) -> Path:
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    return folder / "a"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder, "is a directory"),
        (lambda folder: folder / "none", "no such file"),
        (lambda folder: folder / "none" / "of it", "no such file"),
        (looped, "too many levels of symbolic links"),
        (lambda folder: folder / "a\0b", "embedded null byte"),
        (lambda folder: folder / ("a" * 300), "file name too long"),
    ],
    ids=["folder", "none", "in none", "links in a circle", "NUL", "long name"],
)
def test_path_that_is_not_a_file_is_an_oserror(make: Callable[[Path], Path], reason: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    for read in READERS:
        with pytest.raises(OSError, match=r"\[Errno \d+\]") as caught:
            read(path)
        assert reason_of(caught.value) == reason


def test_file_is_read_unchanged(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbfeins\r\nzwei\n")
    assert read_bytes(tmp_path / "file") == b"\xef\xbb\xbfeins\r\nzwei\n"
    assert read_text(tmp_path / "file") == "eins\nzwei\n"
    with opened(tmp_path / "file", most=14) as file:
        assert file.read() == b"\xef\xbb\xbfeins\r\nzwei\n"


def test_file_above_the_maximum_size_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    message = re.escape("a file of 5 bytes or more, and at most 4 are read")
    readers: list[Callable[..., Any]] = [check_file, read_bytes, read_opened]
    for read in readers:
        with pytest.raises(OSError, match=message):
            read(tmp_path / "file", most=4)
    assert read_bytes(tmp_path / "file", most=5) == b"12345"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc")
def test_file_of_the_system_without_a_size_is_limited_too() -> None:
    assert Path("/proc/self/status").stat().st_size == 0
    with pytest.raises(OSError, match="a file of 11 bytes or more, and at most 10 are read"):
        read_bytes("/proc/self/status", most=10)


def test_arrays_are_read_by_name(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "some.npz", a=np.arange(3), b=np.array("text"))
    found = read_arrays(tmp_path / "some.npz")
    assert {name: array.tolist() for name, array in found.items()} == {"a": [0, 1, 2], "b": "text"}


def test_arrays_that_would_take_too_much_memory_are_not_unpacked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "some.npz", a=np.zeros(100_000))
    assert (tmp_path / "some.npz").stat().st_size < 10_000
    with pytest.raises(ValueError, match=r"^800128 bytes of arrays, and at most 10000 are read$"):
        read_arrays(tmp_path / "some.npz", most=10_000)


def encrypted(file: Path) -> None:
    data = bytearray(file.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    file.write_bytes(data)


def of_another_method(file: Path) -> None:
    data = bytearray(file.read_bytes())
    for mark, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(mark) + place] = 97
    file.write_bytes(data)


def of_a_header_that_goes_deep(file: Path) -> None:
    header = b"(" * 5000 + b"\n"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


@pytest.mark.parametrize(
    "damage",
    [
        encrypted,
        of_another_method,
        of_a_header_that_goes_deep,
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(b"text"),
    ],
)
def test_damaged_arrays_are_a_value_error(damage: Callable[[Path], object], tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "some.npz", a=np.arange(1000))
    damage(tmp_path / "some.npz")
    with pytest.raises(ValueError, match=r"no \.npz file|damaged|Cannot|parse"):
        read_arrays(tmp_path / "some.npz")
