"""The first directory of a TIFF file: the fields that describe its first page.

Source: TIFF 6.0, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf (section 2)
"""

import struct
from typing import BinaryIO

__all__ = ["MARKS", "MOST_FIELDS", "read_directory", "structure"]

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First four bytes of TIFF and BigTIFF files, in either byte order."""

MOST_FIELDS = 4096
"""Maximum number of fields that are read: a damaged or hostile file claims any number."""

_MOST_VALUES = 3 * 2**16  # of a field: the colours of a palette of 16 bits
# Tags of the fields that describe the samples.
_WANTED = frozenset({256, 257, 258, 259, 262, 266, 274, 277, 284, 317, 320, 332, 338, 339, 530, 32997})
# Letter of `struct` for each type of a field.
_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}


def structure(head: bytes) -> tuple[str, str, str, int]:
    """Returns the byte order, letters of `struct` for counts and offsets, and the size of an offset.

    The size is also the position of the first directory's offset: byte 8 of a BigTIFF file, otherwise 4.
    """
    order = "<" if head[:1] == b"I" else ">"
    return (order, "Q", "Q", 8) if 43 in head[2:4] else (order, "H", "I", 4)


def read_directory(file: BinaryIO) -> tuple[dict[int, tuple[int, ...]], dict[str, bool]]:
    """Reads the first directory; the file's position before and after is arbitrary.

    Returns:
        Values of the fields that describe the samples, by tag; and `is_big_endian`, `is_bigtiff` and `has_more` of
        `ctonnx.images.raster.tiff.TiffHeader`.

    Raises:
        ValueError: If the directory has too many fields; damage raises struct.error, OverflowError and OSError, too.
    """
    file.seek(0)
    head = file.read(16)
    order, count_letter, long, room = structure(head)
    (at,) = struct.unpack_from(order + long, head, room)
    file.seek(at)
    (count,) = struct.unpack(order + count_letter, file.read(struct.calcsize(order + count_letter)))
    step = 4 + 2 * room
    if count > MOST_FIELDS:
        raise ValueError(f"its first directory has {count} fields")
    listed = file.read(count * step + room)
    found: dict[int, tuple[int, ...]] = {}
    for i in range(count):
        tag, kind, number = struct.unpack_from(order + "HH" + long, listed, i * step)
        if tag not in _WANTED or kind not in _TYPES or number == 0:
            continue
        letters = f"{order}{min(number, _MOST_VALUES)}{_TYPES[kind]}"
        size = struct.calcsize(letters)
        place = i * step + 4 + room
        if size <= room:
            found[tag] = struct.unpack_from(letters, listed, place)
        else:
            file.seek(struct.unpack_from(order + long, listed, place)[0])
            found[tag] = struct.unpack(letters, file.read(size))
    (following,) = struct.unpack_from(order + long, listed.ljust(count * step + room, b"\0"), count * step)
    return found, {"is_big_endian": order == ">", "is_bigtiff": long == "Q", "has_more": following != 0}
