"""Detection of image files by name and first bytes, and the formats supported on this machine."""

import os
import struct
from contextlib import suppress
from importlib.util import find_spec
from typing import BinaryIO

from PIL import features

from ctonnx.errors import ImageError
from ctonnx.images.raster.decoding import FORMATS, begins_as_image
from ctonnx.images.raster.unsupported import TEXT, describe_file
from ctonnx.images.source import open_source

__all__ = [
    "HEAD",
    "SUFFIXES",
    "begins_as_dicom",
    "foreign_kind",
    "is_dicom",
    "is_image",
    "is_text_by_name",
    "looks_like_image",
    "may_have_frames",
    "readable_formats",
]


HEAD = 132
"""Number of bytes that decide whether a file is DICOM."""

# First elements of files without a preamble, by group: lengths, the character set, the image type, the SOP class and
# times. No format of Pillow begins with these bytes; a TGA file comes closest.
_FIRST = {
    0x0002: range(0x0014),
    0x0008: (0x0000, 0x0001, 0x0005, 0x0006, 0x0008, *range(0x0012, 0x0019), *range(0x0020, 0x0024)),
}
_LONGEST = 1 << 16  # bytes of such an element


def begins_as_dicom(head: bytes, *, has_dicom_name: bool) -> bool:
    """Returns whether a file is DICOM by its first `HEAD` bytes, less strictly if its name has an ending of DICOM.

    >>> begins_as_dicom(b"\\x08\\0\\x05\\0CS\\x0a\\0ISO_IR 100", has_dicom_name=False)
    True
    """
    if head[128:132] == b"DICM" or head[:4] == b"DICM":
        return True
    # Without the mark a dataset begins with a small group number, of either byte order: no image file does.
    if has_dicom_name and (0 < int.from_bytes(head[:2], "little") <= 0x28 or head[:2] == b"\0\x08"):
        return True
    return any(_begins_with_an_element(head, order) for order in "<>")


def _begins_with_an_element(head: bytes, order: str) -> bool:
    if len(head) < 8:
        return False
    group, element, length = struct.unpack(f"{order}HHI", head[:8])
    if element not in _FIRST.get(group, ()):
        return False
    is_explicit = head[4:6].isalpha() and head[4:6].isupper()
    # The File Meta Information always names types; without them a small TGA file would match, too.
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
"""Lower-case file name endings of the formats that `load` supports."""


_TEXTS = frozenset(
    f".{ending}"
    for endings in (
        "txt md rst log tex html htm",
        "csv tsv xls xlsx ods json jsonl ndjson",
        "xml yaml yml toml ini cfg py ipynb sh bat",
    )
    for ending in endings.split()
)


def is_text_by_name(path: str | os.PathLike[str]) -> bool:
    """Returns whether `path` has the ending of a text, a table, settings or a program: no scan is stored as one.

    A file without an ending, as many DICOM files are, is none of these.

    >>> is_text_by_name("README.TXT"), is_text_by_name("IM0001"), is_text_by_name("scan.zip")
    (True, False, False)
    """
    return os.path.splitext(path)[1].lower() in _TEXTS


def looks_like_image(path: str | os.PathLike[str]) -> bool:
    """Returns whether `path` has the ending of an image format; the file is not opened.

    >>> looks_like_image("scan.PNG"), looks_like_image("notes.txt")
    (True, False)
    """
    return os.path.splitext(path)[1].lower() in SUFFIXES


def may_have_frames(path: str | os.PathLike[str]) -> bool:
    """Returns whether `path` may be a DICOM file by its name, which often has no ending or an unusual one.

    >>> may_have_frames("scan.png"), may_have_frames("scan.dcm"), may_have_frames("IM0001")
    (False, True, True)
    """
    return os.path.splitext(path)[1].lower() in _DICOM or not looks_like_image(path)


def is_image(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file begins like an image or a DICOM file; nothing is decoded."""
    with suppress(ImageError), open_source(path) as (file, _, name):
        return is_dicom(file, name) or begins_as_image(file, name)
    return False


def foreign_kind(path: str | os.PathLike[str]) -> str | None:
    """Returns the kind of a file that is not an image, with advice; None if it is unknown or a plain text."""
    with suppress(ImageError), open_source(path) as (file, _, _name):
        kind = describe_file(file)
        return None if kind == TEXT else kind
    return None


def readable_formats() -> list[str]:
    """Returns the formats that `load` supports here: some need an optional library of Pillow, DICOM needs pydicom."""
    needed = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}
    formats = [name for name in FORMATS if name not in needed or features.check(needed[name])]
    return formats + ["DICOM"] * (find_spec("pydicom") is not None)


def is_dicom(file: BinaryIO, name: str) -> bool:
    """Returns True if an open file is DICOM; its position is reset to 0."""
    head = file.read(HEAD)
    file.seek(0)
    return begins_as_dicom(head, has_dicom_name=name.lower().endswith(_DICOM))
