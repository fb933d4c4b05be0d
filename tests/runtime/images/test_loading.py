"""Loading of arrays, Pillow images and files, and the errors of files that are not images."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from tests.runtime.images.image_files import GREY, encoded, error_of, noise, row

from ctonnx.errors import ImageError
from ctonnx.images import load as load_image
from ctonnx.images import load_frames, loading
from ctonnx.images.source import ImageSource


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
def test_array_of_another_dtype_or_shape_is_rejected(array: NDArray[Any], reason: str) -> None:
    expected = "array: expected a uint8 array of shape [height, width] or [height, width, 1, 3 or 4], "
    assert error_of(array) == expected + reason


@pytest.mark.parametrize("channels", [2, 5])
def test_array_with_another_number_of_channels_is_rejected(channels: int) -> None:
    expected = f"array: expected 1, 3 or 4 channels last, found shape [2, 2, {channels}]"
    assert error_of(np.zeros((2, 2, channels), np.uint8)) == expected


def test_pillow_image_without_pixels_is_rejected() -> None:
    assert error_of(Image.new("L", (0, 3))) == "image in memory: the image has no pixels: 0 x 3"


def test_damaged_lazy_pillow_image_is_rejected() -> None:
    with Image.open(io.BytesIO(noise("PNG")[:562])) as lazy:
        assert error_of(lazy) == "image in memory: damaged image: image file is truncated"


def test_closed_pillow_image_is_rejected() -> None:
    image = Image.open(io.BytesIO(noise("PNG")))
    image.close()
    assert error_of(image) == "image in memory: damaged image: Operation on closed image"


def test_pillow_image_is_named_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "scan.png"
    file.write_bytes(noise("PNG")[:562])
    with Image.open(file) as lazy:
        assert error_of(lazy) == f"{file}: damaged image: image file is truncated"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_result_can_be_changed_without_changing_the_source(mode: str) -> None:
    image = Image.new(mode, (2, 2))
    before = image.tobytes()
    found = load_image(image)
    found.image.putpixel((0, 0), 255 if found.mode == "L" else (255, 255, 255))
    assert image.tobytes() == before


def test_grey_image_imports_nothing_that_other_images_need(tmp_path: Path) -> None:
    (tmp_path / "scan.png").write_bytes(encoded(GREY))
    script = (
        "import sys; from ctonnx.images.loading import load; load(sys.argv[1])\n"
        "print([name for name in ('pydicom', 'PIL.ImageCms') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "scan.png")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[]\n"


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
def test_file_that_is_not_an_image_is_rejected_with_the_reason(data: bytes, reason: str, tmp_path: Path) -> None:
    assert error_of(data) == f"bytes in memory: {reason}"
    file = tmp_path / "scan.png"
    file.write_bytes(data)
    assert error_of(file) == f"{file}: {reason}"


def test_error_without_a_text_is_reported_by_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: Image.Image) -> None:
        raise EOFError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    assert error_of(encoded(GREY)) == "bytes in memory: damaged image: EOFError"


def test_error_has_the_reason_and_the_source_separately(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        load_image(tmp_path / "none.png")
    assert caught.value.reason == "cannot be read: no such file"
    assert caught.value.source == str(tmp_path / "none.png")


def test_other_images_than_dicom_have_a_single_frame(tmp_path: Path) -> None:
    animated = encoded(GREY, "GIF", save_all=True, append_images=[Image.new("L", (40, 30), 9)])
    (tmp_path / "scan.gif").write_bytes(animated)
    sources: list[ImageSource] = [animated, GREY, np.asarray(GREY), tmp_path / "scan.gif"]
    assert [[number for number, _ in load_frames(source)] for source in sources] == [[None]] * len(sources)


@pytest.mark.parametrize("name", ["scan.dcm", "scan.ima"])
def test_image_under_a_dicom_name_is_read(name: str, tmp_path: Path) -> None:
    for file_format in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "PPM", "WEBP"):
        (tmp_path / name).write_bytes(encoded(GREY, file_format))
        assert load_image(tmp_path / name).size == (40, 30)
    (tmp_path / name).write_bytes(b"only a text")
    assert error_of(tmp_path / name) == f"{tmp_path / name}: {NO_FORMAT}, but a text file"


def test_sixteen_bit_scan_gives_the_same_pixels_in_every_container(tmp_path: Path) -> None:
    values = np.linspace(20000, 36000, 64, dtype=np.uint16).reshape(8, 8)
    for name in ("scan.png", "scan.tiff", "scan.pgm"):
        Image.fromarray(values).save(tmp_path / name)
    expected = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    for name in ("scan.png", "scan.tiff", "scan.pgm"):
        np.testing.assert_array_equal(np.asarray(loading.load(tmp_path / name)), expected)
