"""Metadata that stop Pillow are removed; the parts that make the pixels are unchanged, damage included."""

import io
import struct
import threading
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin
from tests.runtime.images.image_files import chunk, compressed_zeros, reason_of
from tests.runtime.images.raster.tiff_files import LZW, NONE, tiff

from ctonnx.errors import CtonnxError
from ctonnx.images import load
from ctonnx.images.formats import is_image
from ctonnx.images.raster.salvage import without_metadata
from ctonnx.prediction.inputs import find_images

GREY = np.tile(np.arange(0, 240, 5, dtype=np.uint8), (16, 1))
BOMB = compressed_zeros(200_000_000)


def png(before: bytes = b"", after: bytes = b"", *, pixels: bytes | None = None, depth: int = 0) -> bytes:
    """Returns a PNG file with chunks before and after its pixels."""
    height, width = GREY.shape
    rows = b"".join(b"\0" + line.tobytes() for line in GREY)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), checksum=depth)
    body = chunk(b"IDAT", zlib.compress(rows) if pixels is None else pixels)
    return b"\x89PNG\r\n\x1a\n" + head + before + body + after + chunk(b"IEND", b"")


BAD_CHUNKS = {
    "a large colour profile": chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(1_500_000))),
    "a colour profile of an unknown kind": chunk(b"iCCP", b"icc\0\7" + zlib.compress(b"a")),
    "a colour profile without its name": chunk(b"iCCP", b""),
    "a large compressed text": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_500_000))),
    "a bomb of text": chunk(b"zTXt", b"a\0\0" + BOMB),
    "a compressed text of an unknown kind": chunk(b"zTXt", b"a\0\7"),
    "a large international text": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(1_500_000))),
    "a bomb that names an orientation": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB),
    "many texts": chunk(b"tEXt", b"a\0" + b"b" * 1_000_000) * 66,
    "a comment with a wrong checksum": chunk(b"tEXt", b"Comment\0hello", checksum=1),
    "a time with a wrong checksum": chunk(b"tIME", bytes(7), checksum=1),
    "an own chunk with a wrong checksum": chunk(b"prVt", b"x", checksum=1),
    "an orientation with a wrong checksum": chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0", checksum=1),
    "a gamma that is cut off": chunk(b"gAMA", b"\0"),
    "a resolution that is cut off": chunk(b"pHYs", b"\0"),
    "chromaticities that are cut off": chunk(b"cHRM", b"\0"),
    "a rendering intent that is cut off": chunk(b"sRGB", b""),
    "a text's name that is no text": chunk(b"tEXt", b"\xff" * 90 + b"\0" + b"a"),
}


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_png_is_read_despite_bad_metadata(name: str, where: str) -> None:
    data = png(BAD_CHUNKS[name]) if where == "before" else png(after=BAD_CHUNKS[name])
    np.testing.assert_array_equal(np.asarray(load(data)), GREY)


def test_file_with_a_large_text_is_detected_as_an_image(tmp_path: object) -> None:
    import pathlib

    file = pathlib.Path(str(tmp_path)) / "scan"
    file.write_bytes(png(BAD_CHUNKS["a large colour profile"]))
    assert is_image(file)


def test_bomb_in_a_text_is_not_inflated() -> None:
    data = png(BAD_CHUNKS["a bomb of text"] + BAD_CHUNKS["a bomb that names an orientation"])
    load(png())
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(np.asarray(load(data)), GREY)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8e6


def exif(orientation: int) -> bytes:
    entries = Image.Exif()
    entries[0x0112] = orientation
    return entries.tobytes()


@pytest.mark.parametrize(
    "chunks",
    [
        chunk(b"eXIf", exif(3)[6:]),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 9\n" + exif(3).hex().encode())),
        chunk(b"tEXt", b"Raw profile type exif\0" + b"\nexif\n 9\n" + exif(3).hex().encode()),
        chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="3"/>'),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b'<x tiff:Orientation="3"/>')),
    ],
    ids=["EXIF", "raw profile, compressed", "raw profile", "XMP", "XMP, compressed"],
)
def test_orientation_is_applied_when_other_metadata_are_removed(chunks: bytes) -> None:
    np.testing.assert_array_equal(np.asarray(load(png(chunks))), GREY[::-1, ::-1])
    damaged = png(BAD_CHUNKS["a large colour profile"] + chunks)
    np.testing.assert_array_equal(np.asarray(load(damaged)), GREY[::-1, ::-1])


def test_transparent_grey_is_black_when_metadata_are_removed() -> None:
    data = png(BAD_CHUNKS["a comment with a wrong checksum"] + chunk(b"tRNS", b"\0\xc8"))
    np.testing.assert_array_equal(np.asarray(load(data)), np.where(GREY == 200, 0, GREY))


def test_animation_has_its_warning_when_metadata_are_removed() -> None:
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, "PNG", save_all=True, append_images=[Image.fromarray(GREY // 2)])
    whole = file.getvalue()
    scan = load(whole[:33] + BAD_CHUNKS["a large compressed text"] + whole[33:])
    np.testing.assert_array_equal(np.asarray(scan.image.convert("L")), GREY)
    assert scan.caution == "only the first of several pages was read"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png(BAD_CHUNKS["a time with a wrong checksum"], depth=1), "not an image in a format that can be read"),
        (
            png(BAD_CHUNKS["a time with a wrong checksum"] + chunk(b"PLTE", bytes(3), checksum=1)),
            "not an image in a format that can be read",
        ),
        (png(chunk(b"tRNS", b"\0\0", checksum=1)), "not an image in a format that can be read"),
        (
            png(BAD_CHUNKS["a large compressed text"], pixels=b"no zlib"),
            "damaged image: broken data stream when reading image file",
        ),
        (png(BAD_CHUNKS["a large compressed text"])[:-80], "damaged image: image file is truncated"),
    ],
    ids=["header", "palette", "transparency", "pixels", "cut off"],
)
def test_damage_of_the_pixels_is_still_an_error(data: bytes, reason: str) -> None:
    assert reason_of(data).startswith(reason)


def test_limits_of_pillow_are_unchanged_and_threads_independent() -> None:
    limits = (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY, ImageFile.LOAD_TRUNCATED_IMAGES)
    cut = png()[:-80]
    found: list[object] = []

    def read() -> None:
        for name in ("a large colour profile", "many texts"):
            found.append(bool(np.array_equal(np.asarray(load(png(BAD_CHUNKS[name]))), GREY)))
            found.append(reason_of(cut))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count(True) == 8
    assert found.count("damaged image: image file is truncated") == 8
    assert limits == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY, ImageFile.LOAD_TRUNCATED_IMAGES)


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


@pytest.mark.parametrize(
    "segments",
    [
        segment(0xE0, b"JFIF\0"),
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xE2, b"ICC_PROFILE\0\1"),
        segment(0xEE, b"Adobe"),
        segment(0xE2, b"ICC_PROFILE\0") + segment(0xE1, exif(3)),
    ],
    ids=["JFIF", "ICC", "ICC of no number", "Adobe", "ICC beside an orientation"],
)
def test_jpeg_is_read_despite_bad_metadata(segments: bytes) -> None:
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, "JPEG", quality=100)
    whole = file.getvalue()
    upright = GREY[::-1, ::-1] if exif(3) in segments else GREY
    found = np.asarray(load(whole[:2] + segments + whole[2:])).astype(int)
    np.testing.assert_allclose(found, upright, rtol=0, atol=2)
    assert reason_of(whole[:2] + segments + whole[2:-60]).startswith("damaged image: ")


@pytest.mark.parametrize("compression", [NONE, LZW])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    "value", [(4, [2**32 - 1]), (3, [1, 2, 3]), (5, [1, 0]), (12, [float("nan")])], ids=["long", "shorts", "1/0", "nan"]
)
def test_tiff_is_read_despite_broken_xmp(value: tuple[int, list[int]], big: bool, compression: int) -> None:
    data = tiff(GREY, bits=8, compression=compression, big=big, tags={700: value, 274: (3, [3])}, rows=5)
    np.testing.assert_array_equal(np.asarray(load(data)), GREY[::-1, ::-1])


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("tag", [270, 282, 306, 330, 700, 33628, 34377, 34665, 34675, 37500, 50838, 50839, 65000])
@pytest.mark.filterwarnings("ignore")  # of Pillow
def test_tiff_is_read_despite_any_odd_field(tag: int, bits: int) -> None:
    values: list[tuple[int, list[int]]] = [(7, [7] * 300_000), (7, [255] * 10), (1, [0]), (4, [8]), (2, [200] * 30)]
    samples = GREY.astype(int) * (4095 / 255 if bits == 12 else 1)
    for value in values:
        found = np.asarray(load(tiff(np.rint(samples), bits=bits, tags={tag: value}))).astype(int)
        np.testing.assert_allclose(found, GREY, rtol=0, atol=1)


@pytest.mark.parametrize("data", [png(), b"GIF89a", tiff(GREY, bits=8)[:30], b""])
def test_file_without_metadata_or_of_another_format_is_not_rewritten(data: bytes) -> None:
    assert without_metadata(io.BytesIO(data)) is None


@pytest.mark.parametrize("count", [2**62, 2**64 - 1])
def test_directory_that_claims_endless_fields_is_rejected_at_once(count: int, tmp_path: Path) -> None:
    file = tmp_path / "IM1"
    file.write_bytes(b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, count) + bytes(200))
    assert without_metadata(io.BytesIO(file.read_bytes())) is None
    assert not is_image(file)
    with pytest.raises(CtonnxError, match="expected images in "):
        find_images([str(tmp_path)])
    assert reason_of(file.read_bytes()) == f"damaged image: its first directory has {count} fields"
