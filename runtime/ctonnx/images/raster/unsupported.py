"""Names the kind of a file that is not a supported image, by its first bytes, and what to do with it.

Users pass volumes, archives, Git LFS pointers and pages of a failed download under any name. A file is examined only if
it could not be read as an image, or if its image format has no signature.

Sources: the formats' specifications; https://nifti.nimh.nih.gov/nifti-1 (348 bytes of a header, its mark at 344),
https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md, ISO/IEC 14496-12 (`ftyp` and its brands)
"""

import io
import re
import zlib
from typing import BinaryIO

__all__ = ["TEXT", "describe_file"]

TEXT = "a text file"
"""Description of a text of no particular kind, for which there is no advice."""

_HEAD = 1024  # bytes to examine

_SLICES = "save its slices as PNG, TIFF or DICOM files"
_UNPACK = "unpack it and name the folder"
_CONVERT = "convert it to PNG or TIFF"
_AGAIN = "name image files, or download the image again if this was downloaded instead"

# Offset, signatures and description; longer signatures come first if one begins with another.
_MARKS: tuple[tuple[int, bytes | tuple[bytes, ...], str], ...] = (
    (344, b"n+1\0", f"a NIfTI volume; {_SLICES}"),
    (344, b"ni1\0", f"the header of a NIfTI volume; {_SLICES}"),
    (4, b"n+2\0\r\n\x1a\n", f"a NIfTI-2 volume; {_SLICES}"),
    (4, b"ni2\0\r\n\x1a\n", f"the header of a NIfTI-2 volume; {_SLICES}"),
    (0, b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file itself; run: git lfs pull"),
    (0, b"/annex/objects/", "a git-annex pointer, not the file itself; run: git annex get"),
    (0, b"NRRD000", f"an NRRD volume; {_SLICES}"),
    (0, (b"ObjectType", b"NDims"), f"the header of a MetaImage volume; {_SLICES}"),
    (0, b"# vtk DataFile", f"a VTK file; {_SLICES}"),
    (0, b"MATLAB ", f"a MATLAB file; {_SLICES}"),
    (0, b"\x89HDF\r\n\x1a\n", f"an HDF5 file; {_SLICES}"),
    (512, b"\x89HDF\r\n\x1a\n", f"an HDF5 file; {_SLICES}"),
    (0, (b"CDF\1", b"CDF\2"), f"a netCDF or MINC file; {_SLICES}"),
    (0, b"SIMPLE  =", f"a FITS file; {_CONVERT}"),
    (0, b"\x93NUMPY", "a NumPy array; save its images as PNG or TIFF files, or pass the array to ctonnx.Predictor"),
    (0, b"ZISRAWFILE", f"a Zeiss CZI file; {_CONVERT}"),
    (0, b"PK\5\6", "an empty zip archive; name the images"),
    (0, b"PK\7\x08", f"a zip archive; {_UNPACK}"),
    (0, b"7z\xbc\xaf\x27\x1c", f"a 7z archive; {_UNPACK}"),
    (0, b"Rar!\x1a\7", f"a RAR archive; {_UNPACK}"),
    (257, b"ustar", f"a tar archive; {_UNPACK}"),
    (0, b"BZh", f"a file compressed with bzip2; {_UNPACK}"),
    (0, b"\xfd7zXZ\0", f"a file compressed with xz; {_UNPACK}"),
    (0, b"\x28\xb5\x2f\xfd", f"a file compressed with zstd; {_UNPACK}"),
    (0, b"\x04\x22\x4d\x18", f"a file compressed with lz4; {_UNPACK}"),
    (0, b"%!PS", f"a PostScript file; {_CONVERT}"),
    (0, b"\xc5\xd0\xd3\xc6", f"an EPS file; {_CONVERT}"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document or another OLE file; save its images as PNG files"),
    (0, (b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a"), f"a JPEG XL image; {_CONVERT}"),
    (0, b"II\xbc\x01", f"a JPEG XR image; {_CONVERT}"),
    (0, b"8BPS", f"a Photoshop file; {_CONVERT}"),
    (0, b"gimp xcf", f"a GIMP file; {_CONVERT}"),
    (0, b"\x76\x2f\x31\x01", f"an OpenEXR image; {_CONVERT}"),
    (0, b"qoif", f"a QOI image; {_CONVERT}"),
    (0, b"DDS ", f"a DDS image; {_CONVERT}"),
    (0, b"icns", f"an ICNS image; {_CONVERT}"),
    (0, (b"\x01\xda\0", b"\x01\xda\1"), f"an SGI image; {_CONVERT}"),
    (0, b"P7\n", f"a PAM image; {_CONVERT}"),
    (0, b"PF\n", f"a PFM image of three colours; {_CONVERT}"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video; save its frames as PNG files"),
    (0, b"\0\5\x16\7", "macOS metadata of a file, not the file itself; name the file without '._'"),
    (0, b"SQLite format 3\0", "an SQLite database; name image files"),
    (0, b"PAR1", "a Parquet table; name image files"),
)
# PDF readers search for its signature in the first 1024 bytes: a byte order mark, empty lines, or headers of a mail
# or a printer may precede it. In a text it must begin a line.
_PDF, _PDF_IN_A_TEXT = b"%PDF-", re.compile(rb"(?:\A|[^ -~])[ \t]*%PDF-")
_PICTURES = (b"\x89PNG", b"GIF8", b"II", b"MM", b"RIFF", b"BM", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51")
_AVIF = frozenset({b"avif", b"avis"})
_HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})

# Coding of a JPEG frame by its marker (ITU-T T.81, table B.1); JPEG-LS has its own marker.
_JPEG_KINDS = {
    0xC3: "lossless ",
    **dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE), "hierarchical "),
    **dict.fromkeys((0xC7, 0xCF), "hierarchical lossless "),
    **dict.fromkeys((0xC9, 0xCA), "arithmetic-coded "),
    0xCB: "arithmetic-coded lossless ",
}


def describe_file(file: BinaryIO) -> str | None:
    """Returns the kind of a file and what to do with it, or None if it is unknown or may be an image.

    >>> describe_file(io.BytesIO(b"%PDF-1.7"))
    'a PDF document; save its images as PNG files'
    """
    file.seek(0)
    head = file.read(_HEAD)
    for place, marks, kind in _MARKS:
        if head.startswith(marks, place):
            return kind
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg(file)
    if head.startswith(b"\x1f\x8b"):
        return _gzip(head)
    if head.startswith(b"PK\3\4"):
        return _zip(head)
    if head[4:8] == b"ftyp":
        return _media(head)
    if head.startswith(b"RIFF") and head[8:12] in (b"AVI ", b"WAVE"):
        return "a video or a sound (RIFF); save its frames as PNG files"
    # An Analyze header has no signature, only its size and a letter.
    if head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c") and head[38:39] in (b"r", b"\0") and len(head) >= 348:
        return f"the header of an Analyze volume; {_SLICES}"
    text = _text(head)
    if _is_pdf(head, is_text=text is not None):
        return "a PDF document; save its images as PNG files"
    if not head.strip(b"\0") and len(head) >= 16:
        return "zero bytes, as an interrupted copy leaves them; copy the file again"
    return text


def _is_pdf(head: bytes, *, is_text: bool) -> bool:
    if head.startswith(_PICTURES) or head[128:132] == b"DICM":  # these may contain or quote a document
        return False
    return bool(_PDF_IN_A_TEXT.search(head)) if is_text else _PDF in head


def _gzip(head: bytes) -> str:
    try:
        inner = zlib.decompressobj(wbits=31).decompress(head, _HEAD)
    except zlib.error:
        inner = b""
    known = {b"n+1\0": "a NIfTI volume", b"ni1\0": "a NIfTI volume"}.get(inner[344:348])
    if known or inner[4:8] in (b"n+2\0", b"ni2\0"):
        return f"{known or 'a NIfTI-2 volume'}, compressed with gzip; {_SLICES}"
    if inner[257:262] == b"ustar":
        return f"a tar archive, compressed with gzip; {_UNPACK}"
    return "a file compressed with gzip; unpack it (gunzip) and use the extracted file"


def _zip(head: bytes) -> str:
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if first.endswith(b".npy"):
        return "a NumPy archive (.npz); save its images as PNG or TIFF files"
    if first.startswith((b"[Content_Types].xml", b"word/", b"xl/", b"ppt/", b"_rels/", b"mimetype")):
        return "an Office document; save its images as PNG files"
    if first.endswith(b"data.pkl") or b"/data.pkl" in head:
        return "a PyTorch checkpoint; name image files"
    return f"a zip archive; {_UNPACK}"


def _media(head: bytes) -> str | None:
    size = int.from_bytes(head[:4], "big")
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)), 4))}
    if brands & _AVIF:
        return None
    if head[8:12] in _HEIF or brands & (_HEIF - {b"mif1", b"msf1"}):
        return f"a HEIC (HEIF) photo; {_CONVERT}"
    if head[8:12] == b"crx ":
        return f"a camera's raw photo (CR3); {_CONVERT}"
    return "a video (MP4 or QuickTime); save its frames as PNG files"


def _jpeg(file: BinaryIO) -> str | None:
    """Returns the kind of a JPEG file that Pillow cannot decode, otherwise None."""
    at = 2
    while True:
        file.seek(at)
        mark = file.read(5)
        if len(mark) < 5 or mark[0] != 0xFF or not 0xC0 <= mark[1] <= 0xFE or mark[1] in (0xD8, 0xD9, 0xDA):
            return None
        marker, bits = mark[1], mark[4]
        if marker == 0xF7:
            return f"a JPEG-LS image of {bits} bits; {_CONVERT}"
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            kind = _JPEG_KINDS.get(marker, "")
            return f"a {kind}JPEG image of {bits} bits; {_CONVERT}" if kind or bits != 8 else None
        at += 2 + int.from_bytes(mark[2:4], "big")


def _text(head: bytes) -> str | None:
    """Returns the kind of a text, such as a page that a server sent instead of a file; None if it is not a text."""
    try:
        text = io.TextIOWrapper(io.BytesIO(head), "utf-8-sig", errors="strict").read()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4 or len(head) < _HEAD:  # otherwise a character was cut in two
            return None
        text = head[: error.start].decode("utf-8-sig")
    if not text.strip() or not all(letter.isprintable() or letter.isspace() for letter in text):
        return None
    begin = text.lstrip().lower()
    if begin.startswith(("<!doctype html", "<html", "<head", "<body")):
        return f"an HTML page; {_AGAIN}"
    if "<svg" in begin:
        return f"an SVG drawing; {_CONVERT}"
    if begin.startswith("<"):
        return f"an XML document; {_AGAIN}"
    if begin.startswith(("{", "[")):
        return f"a JSON document; {_AGAIN}"
    if "ndims" in begin and "elementdatafile" in begin.replace(" ", ""):
        return f"the header of a MetaImage volume; {_SLICES}"
    return TEXT
