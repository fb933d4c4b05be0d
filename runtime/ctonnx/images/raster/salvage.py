"""PNG, JPEG and TIFF files without the metadata that stop Pillow.

Pillow rejects a whole image for a colour profile or a text that inflates to more than a megabyte, for a wrong checksum
of a comment, and for segments that are too short. The file is read again without them: the parts that make the pixels
are copied unchanged, so that their damage is still an error, and so is an orientation that can be read. Nothing is
inflated beyond Pillow's limits, and none of them is changed.

Sources: https://www.w3.org/TR/png-3/#5Chunk-layout (a capital first letter marks a critical chunk),
https://www.w3.org/Graphics/JPEG/itu-t81.pdf (table B.1, the markers)
"""

import io
import struct
import zlib
from typing import BinaryIO

from ctonnx.images.raster.tiff_directory import MARKS, MOST_FIELDS, structure
from ctonnx.system.memory import largest

__all__ = ["without_metadata"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_VISIBLE = frozenset({b"tRNS", b"acTL", b"fcTL", b"fdAT"})  # not critical by their names: transparency and frames
_ORIENTATION = frozenset({b"Raw profile type exif", b"Raw profile type APP1", b"XML:com.adobe.xmp"})
_LARGEST_KEPT = 1 << 20  # bytes of a chunk with an orientation, also inflated: Pillow's limit

# Tags of the fields that locate and describe the samples of a TIFF file, and of its orientation.
_FIELDS = frozenset(
    {254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, *range(322, 326), 332, 338}
    | {339, 347, *range(512, 522), 529, 530, 531, 532}
)


def without_metadata(file: BinaryIO) -> BinaryIO | None:
    """Returns a copy of the image file without metadata, or None if it has none or is of another format."""
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
    """Returns the signature and the kept chunks, or nothing if all chunks are kept."""
    end = file.seek(0, io.SEEK_END)
    at, parts, is_changed = len(_PNG), [_PNG], False
    while at + 8 <= end:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        size = 12 + length
        is_picture = not kind[0] & 0x20 or kind in _VISIBLE
        file.seek(at)
        chunk = file.read(size)
        if is_picture or at + size > end or _is_kept(chunk):  # Pillow reports a truncated chunk
            parts.append(chunk)
        else:
            is_changed = True
        if kind == b"IEND":
            break
        at += size
    return parts if is_changed else []


def _is_kept(chunk: bytes) -> bool:
    """Returns whether a chunk is undamaged and may contain the orientation."""
    kind, data, checksum = chunk[4:8], chunk[8:-4], chunk[-4:]
    if kind not in (b"eXIf", b"tEXt", b"zTXt", b"iTXt") or len(chunk) > _LARGEST_KEPT:
        return False
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
    """Returns the kept segments and the rest of the file, or nothing if all segments are kept."""
    at, parts, is_changed = 2, [_JPEG[:2]], False
    while True:
        file.seek(at)
        mark = file.read(4)
        marker = mark[1] if len(mark) == 4 and mark[0] == 0xFF else 0
        if not 0xC0 <= marker <= 0xFE or marker == 0xDA:
            break  # the samples, or not a segment: the rest is unchanged
        length = int.from_bytes(mark[2:], "big")
        if length < 2:
            break
        data = file.read(length - 2)
        required = {0xE0: (b"JFIF\0", 14), 0xE1: (b"Exif\0", 6), 0xEE: (b"Adobe", 12)}.get(marker)
        is_picture = not (0xE0 <= marker <= 0xEF or marker == 0xFE)
        if is_picture or (required and data.startswith(required[0]) and length - 2 >= required[1]):
            parts.append(mark + data)
        else:
            is_changed = True
        at += 2 + length
    file.seek(at)
    return [*parts, file.read()] if is_changed else []


def _tiff(file: BinaryIO) -> list[bytes]:
    """Returns the file with a new first directory at its end, or nothing if all fields are kept."""
    file.seek(0)
    whole = file.read()
    order, count_letter, long, begin = structure(whole)
    (at,) = struct.unpack_from(order + long, whole, begin)
    (count,) = struct.unpack_from(order + count_letter, whole, at)
    first, step = at + struct.calcsize(order + count_letter), 4 + 2 * begin
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
