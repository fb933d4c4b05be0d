"""A folder with good, odd and bad files of all kinds, as on a hospital's share: each has its record."""

import io
import os
import socket
import struct
import sys
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.runtime.images.image_files import compressed_zeros

from ctonnx.prediction.inputs import find_images
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Failure, Prediction, Record

_NOISE = np.random.default_rng(7).integers(0, 256, (96, 80, 3)).astype(np.uint8)
_UNIX = sys.platform != "win32"


@dataclass(frozen=True)
class Kind:
    """A file of the share.

    Attributes:
        name: Name of the file; bytes if it is not valid text.
        make: Function that writes it to a path.
        error: Start of its record's error; None if it has a prediction.
        like: File with an identical prediction; None if there is none.
    """

    name: str | bytes
    make: Callable[[str | bytes], None]
    error: str | None = None
    like: str | None = None


def _pixels(*, color: bool = False) -> Image.Image:
    return Image.fromarray(_NOISE if color else _NOISE[:, :, 0])


def _encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, file_format, **options)
    return data.getvalue()


def _write(data: bytes) -> Callable[[str | bytes], None]:
    def make(path: str | bytes) -> None:
        Path(os.fsdecode(path)).write_bytes(data)

    return make


def _saved(mode: str, file_format: str, **options: Any) -> Callable[[str | bytes], None]:
    return _write(_encoded(_pixels(color=mode not in ("1", "L", "LA")).convert(mode), file_format, **options))


def _array(values: NDArray[Any], file_format: str, **options: Any) -> Callable[[str | bytes], None]:
    return _write(_encoded(Image.fromarray(values), file_format, **options))


def _frames(file_format: str, **options: Any) -> Callable[[str | bytes], None]:
    others = [Image.fromarray(np.full((96, 80), value, np.uint8)) for value in (0, 255)]
    return _write(_encoded(_pixels(), file_format, save_all=True, append_images=others, **options))


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *chunks: bytes) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + _chunk(b"IEND", b"")


def _broken(data: bytes, place: int, value: bytes) -> bytes:
    return data[:place] + value + data[place + len(value) :]


def _listening(path: str | bytes) -> None:
    file, before = Path(os.fsdecode(path)), Path.cwd()
    os.chdir(file.parent)  # a socket's name may have 108 bytes
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(file.name)
    os.chdir(before)


def _link(target: str) -> Callable[[str | bytes], None]:
    return lambda path: Path(os.fsdecode(path)).symlink_to(target)


def _unreadable(path: str | bytes) -> None:
    _write(_PNG)(path)
    Path(os.fsdecode(path)).chmod(0)


_PNG = _encoded(_pixels(), "PNG")
_JPEG = _encoded(_pixels(), "JPEG", quality=90)
_GREY = _NOISE[:, :, 0]
_WIDE = _GREY.astype(np.uint16) * 257
_TIFF = _encoded(_pixels(), "TIFF")
_BMP = _encoded(_pixels(), "BMP")

_GOOD = [
    Kind("grey.png", _write(_PNG)),
    Kind("bilevel.png", _saved("1", "PNG")),
    Kind("grey and alpha.png", _saved("LA", "PNG"), like="grey.png"),
    Kind("palette.png", _saved("P", "PNG")),
    Kind("palette of grey.gif", _saved("L", "GIF"), like="grey.png"),
    Kind("colour.png", _saved("RGB", "PNG")),
    Kind("colour and alpha.png", _saved("RGBA", "PNG"), like="colour.png"),
    Kind("16 bits.png", _array(_WIDE, "PNG"), like="grey.png"),
    Kind("two colours transparent.png", _saved("P", "PNG", transparency=3)),
    Kind("no filter.png", _saved("L", "PNG", compress_level=0), like="grey.png"),
    Kind("animated.png", _frames("PNG")),
    Kind("grey.jpg", _write(_JPEG)),
    Kind("colour.jpeg", _saved("RGB", "JPEG")),
    Kind("progressive.jpg", _saved("L", "JPEG", quality=90, progressive=True), like="grey.jpg"),
    Kind("cmyk.jpg", _saved("CMYK", "JPEG")),
    Kind("turned by exif.jpg", _saved("L", "JPEG", exif=_exif(6))),
    Kind("exif of no use.jpg", _saved("L", "JPEG", quality=90, exif=_exif(9)), like="grey.jpg"),
    Kind("stereo.mpo", _frames("MPO")),
    Kind("grey.tif", _write(_TIFF), like="grey.png"),
    Kind("16 bits.tiff", _array(_WIDE, "TIFF"), like="grey.png"),
    Kind("16 bits, other end.tif", _array(_WIDE.astype(">u2"), "TIFF"), like="grey.png"),
    Kind("32 bits.tif", _array(_GREY.astype(np.int32) * 70000 - 9, "TIFF")),
    Kind("float.tif", _array(_GREY.astype(np.float32) / 3 - 40, "TIFF")),
    Kind("not a number.tif", _array(np.where(_GREY > 250, np.nan, _GREY).astype(np.float32), "TIFF")),
    Kind("lzw.tif", _saved("L", "TIFF", compression="tiff_lzw"), like="grey.png"),
    Kind("deflated.tif", _saved("L", "TIFF", compression="tiff_adobe_deflate"), like="grey.png"),
    Kind("fax.tif", _saved("1", "TIFF", compression="group4"), like="bilevel.png"),
    Kind("cmyk.tif", _saved("CMYK", "TIFF")),
    Kind("lab.tif", _saved("LAB", "TIFF")),
    Kind("pages.tif", _frames("TIFF"), like="grey.png"),
    Kind("animated.gif", _frames("GIF")),
    Kind("grey.bmp", _write(_BMP), like="grey.png"),
    Kind("colour.dib", _saved("RGB", "DIB"), like="colour.png"),
    Kind("lossless.webp", _saved("RGB", "WEBP", lossless=True), like="colour.png"),
    Kind("animated.webp", _frames("WEBP")),
    Kind("reversible.jp2", _saved("L", "JPEG2000"), like="grey.png"),
    Kind("grey.avif", _saved("L", "AVIF")),
    Kind("grey.pgm", _saved("L", "PPM"), like="grey.png"),
    Kind("16 bits.pgm", _array(_WIDE, "PPM"), like="grey.png"),
    Kind("bilevel.pbm", _saved("1", "PPM"), like="bilevel.png"),
    Kind("float.pfm", _array(_GREY.astype(np.float32), "PPM")),
    Kind("grey.tga", _saved("L", "TGA"), like="grey.png"),
    Kind("grey.pcx", _saved("L", "PCX"), like="grey.png"),
    Kind("icon.ico", _saved("RGBA", "ICO", sizes=[(64, 64)])),
    Kind("one pixel.png", _array(np.full((1, 1), 200, np.uint8), "PNG")),
    Kind("one row.png", _array(np.tile(_GREY[:1], (1, 40)), "PNG")),
    Kind("one column.png", _array(np.tile(_GREY[:, :1], (40, 1)), "PNG")),
    Kind("png named.jpg", _write(_PNG), like="grey.png"),
    Kind("jpeg named.txt", _write(_JPEG), like="grey.jpg"),
    Kind("UPPER.PNG", _write(_PNG), like="grey.png"),
    Kind("no ending", _write(_PNG), like="grey.png"),
    Kind("more behind the end.png", _write(_PNG + b"appended by a scanner" * 99), like="grey.png"),
    Kind("[a-z]*?.png", _write(_PNG), like="grey.png"),
    Kind("-o.png", _write(_PNG), like="grey.png"),
    Kind("comma, \"quote\" and 'tick'.png", _write(_PNG), like="grey.png"),
    Kind("plíce 肺 \U0001fac1.png", _write(_PNG), like="grey.png"),
    Kind("n" * 240 + ".png", _write(_PNG), like="grey.png"),
]  # fmt: skip
_GOOD_ON_UNIX = [
    Kind("line\nbreak.png", _write(_PNG), like="grey.png"),
    Kind("tab\tand \x1b[31mescape.png", _write(_PNG), like="grey.png"),
    Kind(b"latin-1 \xe9\xff.png", _write(_PNG), like="grey.png"),
    Kind("link to an image", _link("grey.png"), like="grey.png"),
]

_DAMAGED = "damaged image: "
_BOMB = "too large to decode safely: "
_TEXT = _chunk(b"zTXt", b"a\0\0" + compressed_zeros(70_000_000))
_FOREIGN = "not an image in a format that can be read"
_BAD = [
    Kind("empty.png", _write(b""), "the file is empty (0 bytes)"),
    Kind("empty, no ending", _write(b""), "the file is empty (0 bytes)"),
    Kind("one byte.png", _write(b"\x89"), _FOREIGN),
    Kind("signature alone.png", _write(_PNG[:8]), _FOREIGN),
    Kind("header alone.png", _write(_PNG[:33]), _FOREIGN),
    Kind("half.png", _write(_PNG[: len(_PNG) // 2]), _DAMAGED),
    Kind("half.jpg", _write(_JPEG[: len(_JPEG) // 2]), _DAMAGED),
    Kind("half.tif", _write(_TIFF[: len(_TIFF) // 2]), _DAMAGED),
    Kind("half.bmp", _write(_BMP[: len(_BMP) // 2]), _DAMAGED),
    Kind("half.gif", _write(_encoded(_pixels(), "GIF")[:900]), _DAMAGED),
    Kind("half.webp", _write(_encoded(_pixels(), "WEBP")[:600]), _DAMAGED),
    Kind("half.jp2", _write(_encoded(_pixels(), "JPEG2000")[:600]), _DAMAGED),
    Kind("start of a jpeg.jpg", _write(_JPEG[:2]), _FOREIGN),
    Kind("noise.png", _write(_NOISE.tobytes()), _FOREIGN),
    Kind("noise behind a signature.png", _write(_PNG[:8] + _NOISE.tobytes()), _FOREIGN),
    Kind("bad data.png", _write(_png(8, 8, _chunk(b"IDAT", b"no zlib at all"))), _DAMAGED),
    # A complete stream with too few rows, unlike a truncated file: Pillow leaves the others black.
    Kind("too little data.png", _write(_png(8, 8, _chunk(b"IDAT", zlib.compress(b"\0" * 9)))), None),
    Kind("bad checksum.png", _write(_broken(_PNG, 30, b"\0\0")), _FOREIGN),
    Kind("no data.png", _write(_png(8, 8)), _DAMAGED),
    Kind("no width.png", _write(_png(0, 8, _chunk(b"IDAT", zlib.compress(b"\0" * 9)))), ""),
    Kind("bomb.png", _write(_png(60000, 60000, _chunk(b"IDAT", zlib.compress(b"\0" * 99)))), _BOMB),
    Kind("bomb of text.png", _write(_png(8, 8, _TEXT, _chunk(b"IDAT", zlib.compress(b"\0" * 72)))), None),
    Kind("absurd.bmp", _write(_broken(_BMP, 18, struct.pack("<ii", 2**30, 2**30))), _BOMB),
    Kind("negative.bmp", _write(_broken(_BMP, 18, struct.pack("<ii", -8, 8))), ""),
    Kind("circle of pages.tif", _write(b"II*\0\x08\0\0\0\0\0\x08\0\0\0"), _FOREIGN),
    Kind("pages nowhere.tif", _write(b"II*\0\xff\xff\xff\x7f"), _DAMAGED),
    Kind("notes.txt", _write(b"patient,age\n"), _FOREIGN),
    Kind("page.html", _write(b"<!doctype html><img src='a.png'>"), _FOREIGN),
    Kind("drawing.svg", _write(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), _FOREIGN),
    Kind("program.eps", _write(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), _FOREIGN),
    Kind("report.pdf", _write(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"), _FOREIGN),
    Kind("archive.zip", _write(b"PK\x03\x04" + bytes(60)), _FOREIGN),
    Kind("volume.nii.gz", _write(b"\x1f\x8b\x08\0" + bytes(60)), _FOREIGN),
    Kind("film.mp4", _write(b"\0\0\0\x20ftypisom" + bytes(60)), _FOREIGN),
    Kind("layers.psd", _write(b"8BPS\0\x01" + bytes(60)), _FOREIGN),
    Kind("model.onnx", _write(b"\x08\x08\x12\x07pytorch"), _FOREIGN),
]  # fmt: skip
_BAD_ON_UNIX = [
    Kind("dangling", _link("nothing there.png"), "cannot be read: no such file"),
    Kind("circle", _link("circle"), "cannot be read: too many levels of symbolic links"),
    Kind("device.png", _link("/dev/zero"), "not a regular file, so it is not opened"),
    Kind("pipe.png", lambda path: os.mkfifo(path), "not a regular file, so it is not opened"),
    Kind("socket.png", _listening, "not a regular file, so it is not opened"),
    Kind("forbidden.png", _unreadable, "cannot be read: permission denied"),
]

KINDS: tuple[Kind, ...] = (
    *_GOOD,
    *(_GOOD_ON_UNIX if _UNIX else ()),
    *_BAD,
    *(_BAD_ON_UNIX if _UNIX else ()),
)
"""Each file of the share."""

# A file that may not be read is one for others only: the superuser reads it.
_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
_UNREADABLE = ("forbidden.png",) if _ROOT else ()
_SKIPPED = ("notes.txt", "page.html")  # texts, by name and by content


@pytest.fixture(scope="module")
def records(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    """The record of each file, by its name."""
    folder = tmp_path_factory.mktemp("share")
    for kind in KINDS:
        kind.make(os.path.join(os.fsencode(folder), os.fsencode(kind.name)))
    files = find_images([str(folder)])
    with Predictor(model, workers=2) as predictor:
        found = list(predictor.predict_many(files))
    assert [record.source for record in found] == files
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("ctonnx-")]
    return {Path(record.source).name: record for record in found}


def test_share_has_many_kinds() -> None:
    assert len({os.fsencode(kind.name) for kind in KINDS}) == len(KINDS) >= 100


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: repr(kind.name)[:40])
def test_each_file_has_its_record(kind: Kind, records: dict[str, Record]) -> None:
    if kind.name in _SKIPPED:
        assert os.fsdecode(kind.name) not in records
        return
    record = records[os.fsdecode(kind.name)]
    if kind.error is None or kind.name in _UNREADABLE:
        assert isinstance(record, Prediction), record
        assert abs(sum(record.probabilities.values()) - 1) < 1e-5
    else:
        assert isinstance(record, Failure)
        assert record.error.startswith(kind.error)
        assert str(Path.cwd()) not in record.error


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.like], ids=lambda kind: repr(kind.name)[:40])
def test_same_pixels_have_the_same_prediction_in_any_file(kind: Kind, records: dict[str, Record]) -> None:
    one, other = records[os.fsdecode(kind.name)], records[str(kind.like)]
    assert isinstance(one, Prediction)
    assert isinstance(other, Prediction)
    assert one.label == other.label
    assert one.probabilities == pytest.approx(dict(other.probabilities), abs=1e-6)
