"""Sources of images: paths, bytes, arrays and Pillow images; pipes, links and devices."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.runtime.images.image_files import GREY, encoded, error_of

from ctonnx.errors import ImageError
from ctonnx.images import load as load_image
from ctonnx.images.source import ImageSource, NamedBytes


class PathLike(os.PathLike[str]):
    """A path of another class than `Path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


@pytest.mark.parametrize(
    "source_of",
    [str, Path, PathLike, Path.read_bytes, lambda file: Image.open(io.BytesIO(file.read_bytes())), lambda file: GREY],
    ids=["text", "path", "path-like", "bytes", "lazy Pillow image", "Pillow image"],
)
def test_each_kind_of_source_gives_the_same_image(source_of: Callable[[Path], ImageSource], tmp_path: Path) -> None:
    file = tmp_path / "scan.png"
    file.write_bytes(encoded(GREY))
    found = load_image(source_of(file))
    assert (found.mode, found.size, found.image.tobytes()) == ("L", (40, 30), bytes([100]) * 1200)


def test_named_bytes_are_read_as_the_file_of_their_name(dicom_file: bytes) -> None:
    """A file without the preamble is DICOM by its ending and first bytes."""
    bare = b"\x10\x00\x10\x00" + dicom_file[132:]
    with pytest.raises(ImageError) as here:
        load_image(NamedBytes(bare, "s3://archive/1.png"))
    with pytest.raises(ImageError) as dicom:
        load_image(NamedBytes(bare, "s3://archive/1.dcm"))
    assert here.value.source == "s3://archive/1.png"
    assert dicom.value.source == "s3://archive/1.dcm"
    assert here.value.reason != dicom.value.reason
    assert "DICOM" in dicom.value.reason
    assert load_image(NamedBytes(encoded(GREY), "s3://archive/1.png")).size == (40, 30)


def test_file_with_undecodable_name_is_read(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/sc\xffan.png")
    Path(name).write_bytes(encoded(GREY))
    assert load_image(name).size == (40, 30)


def test_file_is_closed_after_it_was_read(tmp_path: Path) -> None:
    file = tmp_path / "scan.tif"
    file.write_bytes(encoded(GREY, "TIFF"))
    scan = load_image(file)
    file.unlink()
    assert scan.image.getpixel((0, 0)) == 100


def test_folder_is_rejected(tmp_path: Path) -> None:
    assert error_of(tmp_path) == f"{tmp_path}: a folder, not an image file"


def test_too_long_name_is_rejected(tmp_path: Path) -> None:
    name = str(tmp_path / ("a" * 300))
    assert error_of(name) == f"{name}: cannot be read: file name too long"


def test_impossible_name_is_rejected() -> None:
    assert error_of("a\0b.png").startswith("a\0b.png: cannot be read: ")


def test_link_to_itself_is_rejected(tmp_path: Path) -> None:
    link = tmp_path / "scan.png"
    link.symlink_to(link)
    assert error_of(link) == f"{link}: cannot be read: too many levels of symbolic links"


def test_dangling_link_is_rejected(tmp_path: Path) -> None:
    link = tmp_path / "scan.png"
    link.symlink_to("nowhere")
    assert error_of(link) == f"{link}: cannot be read: no such file"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe_is_rejected_and_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "scan.png"
    os.mkfifo(pipe)

    def fail(*arguments: object, **options: object) -> None:
        pytest.fail("the pipe was opened, which waits for ever")

    monkeypatch.setattr(os, "open", fail)
    assert error_of(pipe) == f"{pipe}: not a regular file, so it is not opened"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_that_replaces_a_file_before_it_is_opened_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, pipe = tmp_path / "file.png", tmp_path / "scan.png"
    file.write_bytes(encoded(GREY))
    os.mkfifo(pipe)
    seen = file.stat()
    monkeypatch.setattr(Path, "stat", lambda path, **options: seen)
    assert error_of(pipe) == f"{pipe}: not a regular file, so it is not opened"


@pytest.mark.skipif(os.name != "posix", reason="the names and kinds of files of another system")
def test_devices_and_sockets_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.chdir(tmp_path)  # a socket's name is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("scan.png")
        assert error_of("scan.png") == "scan.png: not a regular file, so it is not opened"
    assert error_of("/dev/null") == "/dev/null: not a regular file, so it is not opened"


@pytest.mark.skipif(os.name != "posix", reason="this system has no such names")
@pytest.mark.parametrize("name", [b"a\nb.png", b" a  b .png", b"\xff\xfe.png", "é.png".encode()])
def test_strange_names_are_read(name: bytes, tmp_path: Path) -> None:
    file = os.path.join(tmp_path, os.fsdecode(name))
    try:
        Path(file).write_bytes(encoded(GREY))
    except OSError:
        pytest.skip("this file system takes no such name")
    assert load_image(file).size == (40, 30)
    Path(file).write_bytes(b"")
    assert error_of(file) == f"{file}: the file is empty (0 bytes)"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="no file is closed to this user (root)")
def test_file_without_permission_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "scan.png"
    file.write_bytes(encoded(GREY))
    file.chmod(0)
    assert error_of(file) == f"{file}: cannot be read: permission denied"


def test_error_of_the_system_is_reported_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "scan.png"
    file.write_bytes(encoded(GREY))

    def fail(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(os, "open", fail)
    assert error_of(file) == f"{file}: cannot be read: permission denied"
