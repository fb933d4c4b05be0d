"""Which file names and which first bytes are images, and which formats can be read here."""

import os
import struct
from importlib.util import find_spec
from typing import BinaryIO

from PIL import features

from ctonnx.errors import ImageError
from ctonnx.images.raster.decoding import FORMATS, begins_as_image
from ctonnx.images.source import open_source
from ctonnx.images.unsupported import TEXT, what_it_is

__all__ = [
    "HEAD",
    "SUFFIXES",
    "begins_as_dicom",
    "foreign_kind",
    "is_dicom",
    "is_image",
    "looks_like_image",
    "may_have_frames",
    "readable_formats",
]


HEAD = 132
"""Bytes of a file that decide."""

# Elements with which files without a preamble begin, by their group: lengths, the character set, the image's type, the
# SOP class and times. No format that Pillow reads begins so; a TGA file comes nearest.
_FIRST = {
    0x0002: range(0x0014),
    0x0008: (0x0000, 0x0001, 0x0005, 0x0006, 0x0008, *range(0x0012, 0x0019), *range(0x0020, 0x0024)),
}
_LONGEST = 1 << 16  # bytes of such an element


def begins_as_dicom(head: bytes, *, is_named_so: bool) -> bool:
    """Says whether a file is DICOM.

    Args:
        head: Its first `HEAD` bytes.
        is_named_so: Whether its name has an ending of DICOM files, with which less is asked of its bytes.

    >>> begins_as_dicom(b"\\x08\\0\\x05\\0CS\\x0a\\0ISO_IR 100", is_named_so=False)
    True
    """
    if head[128:132] == b"DICM" or head[:4] == b"DICM":
        return True
    # Without the mark a data set begins with a small group number, of either byte order: no picture file does.
    if is_named_so and (0 < int.from_bytes(head[:2], "little") <= 0x28 or head[:2] == b"\0\x08"):
        return True
    return any(_begins_with_an_element(head, order) for order in "<>")


def _begins_with_an_element(head: bytes, order: str) -> bool:
    if len(head) < 8:
        return False
    group, element, length = struct.unpack(f"{order}HHI", head[:8])
    if element not in _FIRST.get(group, ()):
        return False
    is_explicit = head[4:6].isalpha() and head[4:6].isupper()
    # The File Meta Information always names types; without them a small TGA file would begin so too.
    return is_explicit or (group != 0x0002 and length < _LONGEST and length % 2 == 0)


_DICOM = (".dcm", ".dicom", ".ima")
SUFFIXES = frozenset(
    f".{ending}"
    for endings in (
        "dcm dicom ima",
        "png apng jpg jpeg jpe jfif mpo bmp dib gif tif tiff webp avif avifs",
        "pbm pgm ppm pnm pfm jp2 j2k jpc jpf jpx j2c tga icb vda vst pcx ico",
    )
    for ending in endings.split()
)
"""Lower-case file name endings of the formats that `load` opens."""


def looks_like_image(path: str | os.PathLike[str]) -> bool:
    """Says whether `path`'s name has an image's ending; the file is not opened.

    >>> looks_like_image("scan.PNG"), looks_like_image("notes.txt")
    (True, False)
    """
    return os.path.splitext(path)[1].lower() in SUFFIXES


def may_have_frames(path: str | os.PathLike[str]) -> bool:
    """Says whether `path` may be a DICOM file, by its name: those often have none, or an ending of their own.

    >>> may_have_frames("scan.png"), may_have_frames("scan.dcm"), may_have_frames("IM0001")
    (False, True, True)
    """
    return os.path.splitext(path)[1].lower() in _DICOM or not looks_like_image(path)


def is_image(path: str | os.PathLike[str]) -> bool:
    """Says whether a file begins as an image or a DICOM file does; nothing is decoded."""
    try:
        with open_source(path) as (file, _, name):
            return is_dicom(file, name) or begins_as_image(file, name)
    except ImageError:
        return False


def foreign_kind(path: str | os.PathLike[str]) -> str | None:
    """Returns what a file is that is no picture, with what to do; None where it is not known, or any text."""
    try:
        with open_source(path) as (file, _, _name):
            kind = what_it_is(file)
            return None if kind == TEXT else kind
    except ImageError:
        return None


def readable_formats() -> list[str]:
    """Returns the names of the formats that `load` opens here: some need a library of Pillow's, DICOM needs pydicom."""
    needed = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}
    formats = [name for name in FORMATS if name not in needed or features.check(needed[name])]
    return formats + ["DICOM"] * (find_spec("pydicom") is not None)


def is_dicom(file: BinaryIO, name: str) -> bool:
    """Returns True if an open file is DICOM; its position is reset to 0."""
    head = file.read(HEAD)
    file.seek(0)
    return begins_as_dicom(head, is_named_so=name.lower().endswith(_DICOM))
