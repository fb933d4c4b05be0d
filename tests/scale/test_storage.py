import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ctonnx.errors import CtonnxError, ImageError
from ctonnx_scale.storage import find_files, is_missing, is_remote, open_store, read

Bucket = Callable[[dict[str, bytes]], str]


def test_files_of_a_folder_in_the_store_are_listed_without_others(bucket: Bucket) -> None:
    names = ["b/2.png", "b/1 #?%41.png", "a/IM0001", ".hidden.png", "@eaDir/x.png", "b/Thumbs.db", "b/list.csv"]
    root = bucket(dict.fromkeys(names, b"x"))
    lines: list[str] = []
    expected = [f"{root}/{name}" for name in ("a/IM0001", "b/1 #?%41.png", "b/2.png")]
    assert find_files([root], lines.append) == expected
    assert find_files([f"{root}/"]) == expected
    assert find_files([f"{root}/b/"]) == expected[1:]
    assert lines == [f"skipped: 1 other file ('{root}/b/list.csv' first), no image by name"]


def test_named_files_are_kept_in_order_with_those_of_this_machine(bucket: Bucket, tmp_path: Path) -> None:
    root = bucket({"1.png": b"x"})
    (tmp_path / "a b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    here = str(tmp_path / "a b.png")
    named = [
        f"{root}/missing.png",
        here,
        f"{root}/1.png",
        f"file://{tmp_path}/a%20b.png",
        str(tmp_path / "missing.png"),
    ]
    assert find_files(named) == [*named[:3], here, named[4]]


def test_folder_without_images_is_an_error(bucket: Bucket) -> None:
    root = bucket({"notes.txt": b"x"})
    with pytest.raises(CtonnxError) as caught:
        find_files([root])
    assert str(caught.value) == (
        f"expected images in '{root}', found 1 other file; name a folder with PNG, JPEG or DICOM files"
    )


def test_bytes_come_with_the_name_of_the_file(bucket: Bucket) -> None:
    root = bucket({"a #1.png": b"content", "gz/1.png.gz": b"packed"})
    found = read(f"{root}/a #1.png")
    assert (bytes(found), found.name) == (b"content", f"{root}/a #1.png")
    assert read(f"{root}/gz/1.png.gz") == b"packed"


def test_missing_file_and_too_large_one_are_errors(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    root = bucket({"1.png": b"content"})
    with pytest.raises(FileNotFoundError):
        read(f"{root}/2.png")
    monkeypatch.setattr("ctonnx_scale.storage.largest", lambda: 6)
    with pytest.raises(ImageError, match=r"1\.png: too large for the memory of this machine: 7 bytes$"):
        read(f"{root}/1.png")


def test_unknown_file_system_is_an_error() -> None:
    with pytest.raises(CtonnxError, match=r"^expected s3://.*, found 'ftp://host', which fails: Unrecognized"):
        open_store("ftp://host/scans")


def test_key_in_the_name_is_rejected_as_rows_would_have_it() -> None:
    with pytest.raises(CtonnxError) as caught:
        find_files(["s3://AKIA:secret@bucket/scans"])
    assert "secret" not in str(caught.value)
    assert str(caught.value).startswith("expected s3://BUCKET without a key before it")


def test_names_of_this_machine_are_not_remote() -> None:
    assert [is_remote(name) for name in ("s3://b/x", "hdfs://h:1/x", "C:/x", "a://b", "/s3://x")] == [
        *(True, True, False, False, False),
    ]


def test_file_that_cannot_be_opened_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "1.png"
    assert is_missing(str(file))
    file.touch()
    assert not is_missing(str(file))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert not is_missing(str(pipe))  # and it is not opened
