"""What an image is read from: files, bytes, arrays and Pillow's images; and what is no image, with the reason."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ctonnx.errors import ImageError
from ctonnx.images import load as load_image
from ctonnx.images import load_frames
from ctonnx.images.formats import is_image
from ctonnx.images.scan import Scan
from ctonnx.images.source import ImageSource

GREY = Image.new("L", (40, 30), 100)


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """Returns the bytes of an image file."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def noise(file_format: str) -> bytes:
    """Returns an image file that is long enough to be cut in the middle of its pixels."""
    values = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    return encoded(Image.fromarray(values), file_format)


def row(image: Scan) -> list[Any]:
    """Returns the first row of an image: numbers for grey, lists of three for colour."""
    values: list[Any] = np.asarray(image)[0].tolist()
    return values


def error_of(source: Any) -> str:
    """Returns the text of the error that a source is refused with."""
    with pytest.raises(ImageError) as caught:
        load_image(source)
    return str(caught.value)


# --- sources ---------------------------------------------------------------------------------------------------------


class PathLike(os.PathLike[str]):
    """A path of somebody else's class."""

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


def test_file_whose_name_is_no_text_is_read(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/sc\xffan.png")
    Path(name).write_bytes(encoded(GREY))
    assert load_image(name).size == (40, 30)


def test_file_is_closed_after_it_was_read(tmp_path: Path) -> None:
    file = tmp_path / "scan.tif"
    file.write_bytes(encoded(GREY, "TIFF"))
    scan = load_image(file)
    file.unlink()
    assert scan.image.getpixel((0, 0)) == 100


@pytest.mark.parametrize(
    ("array", "mode", "expected"),
    [
        (np.array([[1, 2]], np.uint8), "L", [1, 2]),
        (np.array([[[1], [2]]], np.uint8), "L", [1, 2]),
        (np.array([[[1, 2, 3]]], np.uint8), "RGB", [[1, 2, 3]]),
        (np.array([[[200, 100, 50, 128]]], np.uint8), "RGB", [[100, 50, 25]]),
        (np.array([[1, 2, 3, 4]], np.uint8)[:, ::-2], "L", [4, 2]),
        (np.asfortranarray(np.array([[1, 2], [3, 4]], np.uint8)), "L", [1, 2]),
    ],
    ids=["grey", "grey with an axis", "RGB", "RGBA", "strided", "Fortran order"],
)
def test_array_is_read(array: NDArray[np.uint8], mode: str, expected: list[Any]) -> None:
    found = load_image(array)
    assert (found.mode, row(found)) == (mode, expected)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 2), np.float32), "found float32 [2, 2]"),
        (np.zeros((2, 2), np.int16), "found int16 [2, 2]"),
        (np.zeros((2, 2), np.bool_), "found bool [2, 2]"),
        (np.zeros(4, np.uint8), "found uint8 [4]"),
        (np.zeros((1, 2, 2, 3), np.uint8), "found uint8 [1, 2, 2, 3]"),
        (np.zeros((0, 2), np.uint8), "found uint8 [0, 2]"),
        (np.zeros((2, 2, 0), np.uint8), "found uint8 [2, 2, 0]"),
    ],
)
def test_array_of_another_kind_is_refused(array: NDArray[Any], reason: str) -> None:
    expected = "array: expected a uint8 array of shape [height, width] or [height, width, 1, 3 or 4], "
    assert error_of(array) == expected + reason


@pytest.mark.parametrize("channels", [2, 5])
def test_array_with_another_number_of_channels_is_refused(channels: int) -> None:
    expected = f"array: expected 1, 3 or 4 channels last, found shape [2, 2, {channels}]"
    assert error_of(np.zeros((2, 2, channels), np.uint8)) == expected


def test_pillow_image_without_pixels_is_refused() -> None:
    assert error_of(Image.new("L", (0, 3))) == "image in memory: the image has no pixels: 0 x 3"


def test_pillow_image_that_turns_out_damaged_is_refused() -> None:
    with Image.open(io.BytesIO(noise("PNG")[:562])) as lazy:
        assert error_of(lazy) == "image in memory: damaged image: image file is truncated"


def test_pillow_image_that_was_closed_is_refused() -> None:
    image = Image.open(io.BytesIO(noise("PNG")))
    image.close()
    assert error_of(image) == "image in memory: damaged image: Operation on closed image"


def test_pillow_image_is_named_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "scan.png"
    file.write_bytes(noise("PNG")[:562])
    with Image.open(file) as lazy:
        assert error_of(lazy) == f"{file}: damaged image: image file is truncated"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_what_is_returned_can_be_changed_without_changing_the_source(mode: str) -> None:
    image = Image.new(mode, (2, 2))
    before = image.tobytes()
    found = load_image(image)
    found.image.putpixel((0, 0), 255 if found.mode == "L" else (255, 255, 255))
    assert image.tobytes() == before


def test_grey_image_loads_nothing_that_other_images_need(tmp_path: Path) -> None:
    (tmp_path / "scan.png").write_bytes(encoded(GREY))
    script = (
        "import sys; from ctonnx.images.loading import load; load(sys.argv[1])\n"
        "print([name for name in ('pydicom', 'PIL.ImageCms') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "scan.png")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[]\n"


# --- what is no image ------------------------------------------------------------------------------------------------


NO_FORMAT = "not an image in a format that can be read"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"one\n", f"{NO_FORMAT}, but a text file"),
        (b"patient,age\nA,61\n" * 40, f"{NO_FORMAT}, but a text file"),
        (bytes(500), f"{NO_FORMAT}, but zero bytes, as an interrupted copy leaves them; copy the file again"),
        (b"\x89PNG\r\n\x1a\n", NO_FORMAT),
        (encoded(GREY)[:30], NO_FORMAT),
        (encoded(GREY, "JPEG")[:2], NO_FORMAT),
        (noise("PNG")[:562], "damaged image: image file is truncated"),
        (noise("JPEG")[:458], "damaged image: image file is truncated (16 bytes not processed)"),
        (encoded(GREY, "JPEG")[:300], "damaged image: Truncated File Read"),
        (encoded(GREY, "EPS"), f"{NO_FORMAT}, but a PostScript file; convert it to PNG or TIFF"),
        (encoded(GREY, "PDF"), f"{NO_FORMAT}, but a PDF document; save its images as PNG files"),
        (encoded(GREY, "ICNS"), f"{NO_FORMAT}, but an ICNS image; convert it to PNG or TIFF"),
    ],
    ids=[
        "empty",
        "a word",
        "a table",
        "zeros",
        "PNG signature alone",
        "PNG header cut",
        "JPEG marker alone",
        "PNG pixels cut",
        "JPEG pixels cut",
        "JPEG header cut",
        "EPS",
        "PDF",
        "icons",
    ],
)
def test_what_is_no_image_is_refused_with_its_reason(data: bytes, reason: str, tmp_path: Path) -> None:
    assert error_of(data) == f"bytes in memory: {reason}"
    file = tmp_path / "scan.png"
    file.write_bytes(data)
    assert error_of(file) == f"{file}: {reason}"


def test_error_without_a_text_is_told_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: Image.Image) -> None:
        raise EOFError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    assert error_of(encoded(GREY)) == "bytes in memory: damaged image: EOFError"


def test_error_holds_the_reason_and_the_source_apart(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(tmp_path / "none.png")
    assert caught.value.reason == "cannot be read: no such file"
    assert caught.value.source == str(tmp_path / "none.png")


def test_folder_is_refused(tmp_path: Path) -> None:
    assert error_of(tmp_path) == f"{tmp_path}: a folder, not an image file"


def test_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    name = str(tmp_path / ("a" * 300))
    assert error_of(name) == f"{name}: cannot be read: file name too long"


def test_name_that_no_file_can_have_is_refused() -> None:
    assert error_of("a\0b.png").startswith("a\0b.png: cannot be read: ")


def test_link_that_leads_to_itself_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "scan.png"
    link.symlink_to(link)
    assert error_of(link) == f"{link}: cannot be read: too many levels of symbolic links"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe_is_refused_and_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "scan.png"
    os.mkfifo(pipe)

    def fail(*arguments: object, **options: object) -> None:
        pytest.fail("the pipe was opened, which waits for ever")

    monkeypatch.setattr(os, "open", fail)
    assert error_of(pipe) == f"{pipe}: not a regular file, so it is not opened"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_that_takes_a_files_place_before_it_is_opened_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, pipe = tmp_path / "file.png", tmp_path / "scan.png"
    file.write_bytes(encoded(GREY))
    os.mkfifo(pipe)
    seen = file.stat()
    monkeypatch.setattr(Path, "stat", lambda path, **options: seen)
    assert error_of(pipe) == f"{pipe}: not a regular file, so it is not opened"


@pytest.mark.skipif(os.name != "posix", reason="the names and kinds of files of another system")
def test_devices_and_sockets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.chdir(tmp_path)  # a socket's name is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("scan.png")
        assert error_of("scan.png") == "scan.png: not a regular file, so it is not opened"
    assert error_of("/dev/null") == "/dev/null: not a regular file, so it is not opened"


def test_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "scan.png"
    link.symlink_to("nowhere")
    assert error_of(link) == f"{link}: cannot be read: no such file"


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


# --- what is asked before anything is decoded ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(GREY), True),
        (noise("PNG")[:562], True),
        (encoded(GREY, "JPEG"), True),
        (b"\0" * 128 + b"DICM", True),
        (b"", False),
        (b"patient,age\nA,61\n" * 40, False),
    ],
    ids=["PNG", "damaged PNG", "JPEG", "DICOM", "empty", "table"],
)
def test_image_is_known_by_its_beginning(data: bytes, expected: bool, tmp_path: Path) -> None:
    file = tmp_path / "scan"
    file.write_bytes(data)
    assert is_image(file) is expected
    assert not is_image(tmp_path)
    assert not is_image(tmp_path / "none")


def test_other_images_than_dicom_count_as_one_frame(tmp_path: Path) -> None:
    animated = encoded(GREY, "GIF", save_all=True, append_images=[Image.new("L", (40, 30), 9)])
    (tmp_path / "scan.gif").write_bytes(animated)
    sources: list[ImageSource] = [animated, GREY, np.asarray(GREY), tmp_path / "scan.gif"]
    assert [[number for number, _ in load_frames(source)] for source in sources] == [[None]] * len(sources)


@pytest.mark.parametrize("name", ["scan.dcm", "scan.ima"])
def test_picture_under_a_dicom_name_is_read_as_what_it_is(name: str, tmp_path: Path) -> None:
    for file_format in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "PPM", "WEBP"):
        (tmp_path / name).write_bytes(encoded(GREY, file_format))
        assert load_image(tmp_path / name).size == (40, 30)
    (tmp_path / name).write_bytes(b"only a text")
    assert error_of(tmp_path / name) == f"{tmp_path / name}: {NO_FORMAT}, but a text file"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="no file is closed to this user (root)")
def test_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "scan.png"
    file.write_bytes(encoded(GREY))
    file.chmod(0)
    assert error_of(file) == f"{file}: cannot be read: permission denied"


def test_error_of_the_system_is_told_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "scan.png"
    file.write_bytes(encoded(GREY))

    def fail(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(os, "open", fail)
    assert error_of(file) == f"{file}: cannot be read: permission denied"
