"""Files that Pillow misreads need the extra `[tiff]`, and their damage is an error."""

import subprocess
import sys
import threading
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from tests.runtime.images.raster.tiff_files import DEFLATE, LZMA, LZW, NONE, PACKBITS, ZSTD, tiff

from ctonnx.errors import ImageError
from ctonnx.images import load, load_frames
from ctonnx.images.formats import is_image

VALUES = np.random.default_rng(0).integers(0, 4096, (40, 30))
SCRIPT = """
import sys
sys.modules[sys.argv[1]] = None
from ctonnx.errors import ImageError
from ctonnx.images import load
for file in sys.argv[2:]:
    try:
        print(load(file).mode)
    except ImageError as error:
        print(error.reason)
"""


@pytest.mark.parametrize("library", ["tifffile", "imagecodecs"])
def test_without_the_extra_the_error_describes_the_file_and_names_the_extra(library: str, tmp_path: Path) -> None:
    (tmp_path / "12.tif").write_bytes(tiff(VALUES, bits=12))
    (tmp_path / "16.tif").write_bytes(tiff(VALUES, bits=16))
    (tmp_path / "deep.jp2").write_bytes(imagecodecs.jpeg2k_encode(np.stack([VALUES.astype("u2")] * 3, -1), level=0))
    files = [str(tmp_path / name) for name in ("12.tif", "16.tif", "deep.jp2")]
    done = subprocess.run([sys.executable, "-c", SCRIPT, library, *files], check=True, capture_output=True, text=True)
    needs = f'which needs {library}; pip install "ctonnx[tiff]"'
    assert done.stdout.splitlines() == [
        f"a TIFF image of 12 bits (unsigned, min is black, not compressed), {needs}",
        "L",
        f"a JPEG 2000 image of 3 samples of 16 bits (unsigned), {needs}",
    ]


def test_common_files_import_neither_library(tmp_path: Path) -> None:
    (tmp_path / "16.tif").write_bytes(tiff(VALUES, bits=16, compression=LZW))
    seen = "print({'tifffile', 'imagecodecs'} & {*sys.modules})"
    code = f"import sys; from ctonnx.images.loading import load; load(sys.argv[1]); {seen}"
    command = [sys.executable, "-c", code, str(tmp_path / "16.tif")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize("compression", [NONE, LZW, DEFLATE, PACKBITS, ZSTD, LZMA])
def test_truncated_file_or_missing_strip_is_an_error(compression: int) -> None:
    whole = tiff(VALUES, bits=12, compression=compression, rows=10)
    assert load(whole).size == (30, 40)
    short = bytearray(whole)
    at = whole.index(b"\x17\x01\4\0")  # the offset of the lengths of the strips
    counts = int.from_bytes(whole[at + 8 : at + 12], "little")
    short[counts : counts + 4] = (int.from_bytes(whole[counts : counts + 4], "little") // 2).to_bytes(4, "little")
    missing = bytearray(whole)
    missing[counts + 4 : counts + 8] = bytes(4)
    for damaged in (bytes(short), bytes(missing)):
        with pytest.raises(ImageError, match="damaged image: "):
            load(damaged)


def test_bomb_in_a_strip_is_not_inflated() -> None:
    bomb = tiff(np.zeros((1000, 1000), int), bits=12, compression=DEFLATE)
    at = bomb.index(b"\1\1\4\0\1\0\0\0") + 8  # the height
    small = bomb[:at] + (4).to_bytes(4, "little") + bomb[at + 4 :]
    with pytest.raises(ImageError, match="damaged image: "):
        load(small)


def test_threads_decode_concurrently() -> None:
    data = tiff(VALUES, bits=12, compression=LZW)
    right = np.asarray(load(data))
    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda: found.append(np.array_equal(np.asarray(load(data)), right))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


def test_limit_of_pixels_applies(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="too large: 30 x 40 pixels, and at most 1000 are read"):
        next(load_frames(tiff(VALUES, bits=12), most_pixels=1000))


def test_file_on_disk_is_detected_and_read_like_its_bytes(tmp_path: Path) -> None:
    data = tiff(VALUES, bits=12)
    (tmp_path / "scan").write_bytes(data)
    assert is_image(tmp_path / "scan")
    np.testing.assert_array_equal(np.asarray(load(tmp_path / "scan")), np.asarray(load(data)))


def test_log_of_tifffile_is_not_printed(tmp_path: Path) -> None:
    (tmp_path / "scan.tif").write_bytes(tiff(VALUES, bits=12, tags={270: (2, [200] * 30), 34665: (4, [2**31])}))
    code = "import sys; from ctonnx.images.loading import load; load(sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path / "scan.tif")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stderr == ""
