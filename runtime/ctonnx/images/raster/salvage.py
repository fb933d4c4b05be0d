"""The picture of a PNG, JPEG or TIFF file without the metadata beside it, where these stop Pillow.

Pillow gives up a whole picture for a colour profile or a text that inflates to more than a megabyte, for a wrong
checksum of a comment, and for segments that are too short to say anything. Read again without them, it is what it was:
kept are the parts that make the pixels, bit by bit, so that damage of these stays damage; and an orientation, where it
can be read. Nothing is inflated beyond what Pillow would, and none of its limits is changed.

Sources: https://www.w3.org/TR/png-3/#5Chunk-layout (a capital first letter marks what a picture needs),
https://www.w3.org/Graphics/JPEG/itu-t81.pdf (table B.1, the markers)
"""

import io
import struct
import zlib
from typing import BinaryIO

from ctonnx.images.raster.tiff import MARKS, MOST_FIELDS
from ctonnx.system.memory import largest

__all__ = ["without_metadata"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_PIXELS = frozenset({b"tRNS"})  # not critical by its name, and yet seen
_FRAMES = frozenset({b"acTL", b"fcTL", b"fdAT"})
_ORIENTATION = frozenset({b"Raw profile type exif", b"Raw profile type APP1", b"XML:com.adobe.xmp"})
_LARGEST_KEPT = 1 << 20  # bytes of a chunk that holds an orientation, also inflated: as many as Pillow takes

# What says where the samples of a TIFF file are, what they mean, and which side is up.
_FIELDS = frozenset(
    {254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, *range(322, 326), 332, 338}
    | {339, 347, *range(512, 522), 529, 530, 531, 532}
)


def without_metadata(file: BinaryIO) -> BinaryIO | None:
    """Returns the same picture without its metadata, or None where there are none, or the file is of another kind.

    Args:
        file: at any place; it stays as it is.
    """
    file.seek(0)
    head = file.read(8)
    rewrite = _png if head == _PNG else _jpeg if head.startswith(_JPEG) else _tiff if head[:4] in MARKS else None
    if rewrite is None or file.seek(0, io.SEEK_END) > largest():
        return None
    try:
        parts = rewrite(file)
    except (struct.error, OSError, OverflowError):
        return None
    return io.BytesIO(b"".join(parts)) if parts else None


def _png(file: BinaryIO) -> list[bytes]:
    """Returns the signature and the chunks that are kept, or nothing where all are."""
    end = file.seek(0, io.SEEK_END)
    at, parts, has_left_out = len(_PNG), [_PNG], False
    while at + 8 <= end:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        size = 12 + length
        is_picture = not kind[0] & 0x20 or kind in _PIXELS or kind in _FRAMES
        file.seek(at)
        if is_picture or at + size > end:  # of what is cut off, Pillow says so
            parts.append(file.read(size))
        elif kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt") and size <= _LARGEST_KEPT and _is_kept(file.read(size)):
            file.seek(at)
            parts.append(file.read(size))
        else:
            has_left_out = True
        if kind == b"IEND":
            break
        at += size
    return parts if has_left_out else []


def _is_kept(chunk: bytes) -> bool:
    """Says whether a chunk is whole and may hold the orientation."""
    kind, data, checksum = chunk[4:8], chunk[8:-4], chunk[-4:]
    if zlib.crc32(chunk[4:-4]).to_bytes(4, "big") != checksum:
        return False
    if kind == b"eXIf":
        return True
    key, _, rest = data.partition(b"\0")
    if key not in _ORIENTATION:
        return False
    if kind == b"tEXt" or (kind == b"iTXt" and rest[:1] == b"\0"):
        return True
    packed = rest[1:] if kind == b"zTXt" else rest[2:].split(b"\0", 2)[-1]
    inflater = zlib.decompressobj()
    try:
        inflater.decompress(packed, _LARGEST_KEPT)
    except zlib.error:
        return False
    return not inflater.unconsumed_tail


def _jpeg(file: BinaryIO) -> list[bytes]:
    """Returns the segments that are kept and all that follows them, or nothing where all are."""
    at, parts, has_left_out = 2, [_JPEG[:2]], False
    while True:
        file.seek(at)
        mark = file.read(4)
        marker = mark[1] if len(mark) == 4 and mark[0] == 0xFF else 0
        if not 0xC0 <= marker <= 0xFE or marker == 0xDA:
            break  # the samples, or what is no segment: the rest stays as it is
        length = int.from_bytes(mark[2:], "big")
        if length < 2:
            break
        data = file.read(length - 2)
        says_something = {0xE0: (b"JFIF\0", 14), 0xE1: (b"Exif\0", 6), 0xEE: (b"Adobe", 12)}.get(marker)
        is_picture = not (0xE0 <= marker <= 0xEF or marker == 0xFE)
        if is_picture or (says_something and data.startswith(says_something[0]) and length - 2 >= says_something[1]):
            parts.append(mark + data)
        else:
            has_left_out = True
        at += 2 + length
    file.seek(at)
    return [*parts, file.read()] if has_left_out else []


def _tiff(file: BinaryIO) -> list[bytes]:
    """Returns the whole file with another first directory at its end, or nothing where that has no other fields."""
    file.seek(0)
    whole = file.read()
    order = "<" if whole[:1] == b"I" else ">"
    is_big = 43 in whole[2:4]
    count_letter, long, begin = ("Q", "Q", 8) if is_big else ("H", "I", 4)
    (at,) = struct.unpack_from(order + long, whole, begin)
    (count,) = struct.unpack_from(order + count_letter, whole, at)
    first, step = at + struct.calcsize(order + count_letter), 20 if is_big else 12
    if count > MOST_FIELDS:
        return []
    entries = [whole[place : place + step] for place in range(first, first + count * step, step)]
    kept = [entry for entry in entries if struct.unpack_from(order + "H", entry)[0] in _FIELDS]
    if len(kept) == count:
        return []
    following = whole[first + count * step :][: struct.calcsize(long)]
    padding = b"\0" * (len(whole) % 2)
    moved = struct.pack(order + long, len(whole) + len(padding))
    directory = struct.pack(order + count_letter, len(kept)) + b"".join(kept) + following
    return [whole[:begin], moved, whole[begin + len(moved) :], padding, directory]
