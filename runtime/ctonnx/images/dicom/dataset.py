"""Dataset of a DICOM file, read by its actual encoding instead of the declared one.

The byte order, and whether each element names its type, are taken from the elements themselves: many files have a
Transfer Syntax that is not their encoding, because a converter rewrote only one of the two. The group length of the
File Meta Information is not used, as it is often wrong; preamble, mark, and the whole File Meta Information may be
absent.

Source: https://dicom.nema.org/medical/dicom/current/output/chtml/part05/chapter_7.html (elements); PS3.10, 7.1 (files)
"""

import io
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO, TypeAlias

from pydicom import uid
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.filereader import read_dataset, read_preamble

from ctonnx.errors import ImageError
from ctonnx.images.dicom.header import Fault

__all__ = [
    "NO_LENGTH",
    "DataSet",
    "PixelElement",
    "PlainValue",
    "offset_of_data_set",
    "read_data_set",
    "read_plain_values",
]

NO_LENGTH = 0xFFFFFFFF
"""Length of an element that ends with a delimiter."""

PlainValue: TypeAlias = str | float | list[str] | list[float]
"""Value of an element: text, or numbers for a type of numbers; a list if it has several."""

_PLAIN_BYTES = 1 << 14  # of a file, in which plain values are looked for
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())  # lengths of 16 bits
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_NUMBERS = {"DS": float, "IS": int}
_ASCII = frozenset({"", "ISO_IR 100", "ISO_IR 192"})  # character sets whose first 128 characters are ASCII
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD  # tags
_MOST_INFLATED = 1 << 29  # bytes of a deflated data set
_LAST = 0xFFFFFFFF  # tag
_KEYWORDS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_PIXEL_TYPES = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN")  # no even length reads as one of them
_FIRST_GROUPS = range(2, 0x29, 2)  # the dataset of an image begins with one of these


@dataclass(frozen=True)
class PixelElement:
    """Element with the pixels.

    Attributes:
        keyword: `PixelData`, `FloatPixelData` or `DoubleFloatPixelData`.
        vr: Type that the element names; None if it names none.
        begin: Offset of its value in the file.
        length: Length of its value in bytes, or `NO_LENGTH`.
        in_fragments: Whether its value is a sequence of fragments, as for compressed pixels.
    """

    keyword: str
    vr: str | None
    begin: int
    length: int
    in_fragments: bool


@dataclass(frozen=True, eq=False)
class DataSet:
    """A dataset up to its pixels.

    Attributes:
        file: File with the dataset, inflated.
        size: Size of that file in bytes.
        header: Elements before the pixels.
        meta: Elements of the File Meta Information.
        pixels: Element with the pixels; None if there is none.
        label: Transfer Syntax that the file declares; empty if it declares none.
        plain: Transfer Syntax of the elements, and of uncompressed pixels.
    """

    file: BinaryIO
    size: int
    header: Any
    meta: Any
    pixels: PixelElement | None
    label: uid.UID
    plain: uid.UID


def read_data_set(file: BinaryIO, size: int, name: str, *, only: Collection[str] = ()) -> DataSet:
    """Reads a dataset up to its pixels; the caller closes the file.

    With `only`, just the elements with these keywords are read, up to the last of them, and no pixels are looked for.

    Raises:
        ImageError: If the dataset inflates to more than the limit.
        Fault: If the Transfer Syntax is for deflated data that cannot be inflated.
    """
    file.seek(0)
    if file.read(4) != b"DICM":  # the preamble was cut off
        file.seek(0)
        read_preamble(file, force=True)
    meta: Any = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    label = uid.UID(str(meta.get("TransferSyntaxUID") or "").strip(" \0"))
    file, size = _inflated(file, size, name, is_deflated=label == uid.DeflatedExplicitVRLittleEndian)
    if _peek(file, 2) == b"\0\0":  # a command group, as in a network message that was saved unchanged
        read_dataset(file, True, True, stop_when=lambda tag, vr, length: tag >> 16 != 0)
    head = _peek(file, 8)
    little = int.from_bytes(head[:2], "little") <= int.from_bytes(head[:2], "big")
    implicit = not (head[4:6].isalpha() and head[4:6].isupper())
    tags: Any = [tag_for_keyword(keyword) for keyword in only]
    last = max(tags, default=_LAST)
    header: Any = read_dataset(
        file,
        implicit,
        little,
        stop_when=lambda tag, vr, length: tag in _KEYWORDS or tag > last,
        specific_tags=tags or None,
    )
    explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    plain = uid.ImplicitVRLittleEndian if implicit and little else explicit
    pixels = None if only else _pixels(file, little=little)
    return DataSet(file, size, header, meta, pixels, label, plain)


def offset_of_data_set(file: BinaryIO) -> int:
    """Returns the offset of the dataset in a file: after preamble, mark and File Meta Information, where there are any.

    It is 0 if they cannot be read, or if nothing follows them.

    Args:
        file: Open file; its position is changed.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(132)
    place = 132 if head[128:] == b"DICM" else 4 if head[:4] == b"DICM" else 0
    tag, before = 0, -1
    try:
        while tag > before:  # in ascending order, which also bounds their number
            file.seek(place)
            element, before = file.read(12), tag
            if element[:2] != b"\2\0":
                return place if place < size else 0
            tag, *_, length = _element(element, 0)
            place += length
    except (struct.error, ValueError):
        pass
    return 0


def read_plain_values(file: BinaryIO, keywords: Collection[str]) -> dict[str, PlainValue] | None:
    """Returns the values of elements if the file is as most are, without pydicom, which takes several times as long.

    Most files have a preamble, elements that name their types, in little-endian byte order, and within their first 16
    KiB the values asked for: ASCII text of the types in the dictionary. An element that is absent has no value, and an
    empty one has an empty text.

    Args:
        file: Open file; its position is changed.
        keywords: Keywords of elements with text or with numbers as text.

    Returns:
        The values by keyword, as pydicom reads them; None if anything is unusual, so that `read_data_set` must decide.
    """
    file.seek(0)
    head = file.read(_PLAIN_BYTES)
    wanted = _wanted(tuple(keywords))
    last, tag, place = max(wanted), 0, 132
    found: dict[str, PlainValue] = {}
    if head[128:132] != b"DICM":
        return None
    try:
        while True:
            before = tag
            tag, vr, begin, place = _element(head, place)
            if tag <= before or (before >> 16 <= 2 < tag >> 16 and tag >> 16 not in _FIRST_GROUPS):
                return None  # another order of bytes, deflated, or damaged
            if tag > last:
                break
            if (keyword_and_vr := wanted.get(tag)) is not None:
                keyword, expected = keyword_and_vr
                if vr != expected or place > len(head):
                    return None
                found[keyword] = _plain_value(head[begin:place], expected.decode())
    except (struct.error, ValueError, RecursionError):
        return None
    character_set = found.pop("SpecificCharacterSet", "")
    return found if isinstance(character_set, str) and character_set in _ASCII else None


@lru_cache
def _wanted(keywords: tuple[str, ...]) -> dict[int, tuple[str, bytes]]:
    """Returns the keyword and type of each element to read, and the character set, by tag."""
    tags = {keyword: tag_for_keyword(keyword) for keyword in (*keywords, "SpecificCharacterSet")}
    return {tag: (keyword, dictionary_VR(tag).encode()) for keyword, tag in tags.items() if tag is not None}


def _element(head: bytes, place: int) -> tuple[int, bytes, int, int]:
    """Returns the tag and type of the element at a place, and the begin and end of its value."""
    group, element, vr, length = struct.unpack_from("<HH2sH", head, place)
    begin = place + 8
    if vr in _LONG:
        (length,) = struct.unpack_from("<I", head, begin)
        begin += 4
    elif vr not in _SHORT:
        raise ValueError("expected a type")
    if length != NO_LENGTH:
        return group << 16 | element, vr, begin, begin + length
    if vr != b"SQ":
        raise ValueError("expected a length")
    end = begin
    while True:
        group_of_item, element_of_item, length = struct.unpack_from("<HHI", head, end)
        end += 8
        kind = group_of_item << 16 | element_of_item
        if kind == _SEQUENCE_END:
            return group << 16 | element, vr, begin, end
        if kind != _ITEM:
            raise ValueError("expected an item")
        end = _after_item(head, end) if length == NO_LENGTH else end + length


def _after_item(head: bytes, place: int) -> int:
    """Returns the place after an item without a length, whose first element is at a place."""
    while True:
        group, element = struct.unpack_from("<HH", head, place)
        if group << 16 | element == _ITEM_END:
            return place + 8
        *_, place = _element(head, place)


def _plain_value(value: bytes, vr: str) -> PlainValue:
    """Returns a value as pydicom reads it; raises ValueError unless it is ASCII text, and a number where needed."""
    text = value.decode("ascii").rstrip(" \0")
    if not text.isprintable():
        raise ValueError("expected text")
    read = _NUMBERS.get(vr)
    terms: list[Any] = [term.rstrip(" ") if read is None else read(term) for term in text.split("\\")] if text else [""]
    return terms[0] if len(terms) == 1 else terms


def _pixels(file: BinaryIO, *, little: bool) -> PixelElement | None:
    """Returns the element at the file's position if it contains pixels, otherwise None."""
    begin, head = file.tell(), file.read(16)
    order: Any = "little" if little else "big"
    tag = int.from_bytes(head[:2], order) << 16 | int.from_bytes(head[2:4], order)
    if tag not in _KEYWORDS:
        return None
    vr = head[4:6].decode("ascii") if head[4:6] in _PIXEL_TYPES else None
    start = 12 if vr else 8
    length = int.from_bytes(head[start - 4 : start], order)
    in_fragments = length == NO_LENGTH or head[start : start + 4] == b"\xfe\xff\x00\xe0"
    return PixelElement(_KEYWORDS[tag], vr, begin + start, length, in_fragments)


def _inflated(file: BinaryIO, size: int, name: str, *, is_deflated: bool) -> tuple[BinaryIO, int]:
    """Returns the file, inflated if needed, and its size. Bounded, unlike pydicom's inflation."""
    is_plain = _begins(_peek(file, 8))
    if is_plain and not is_deflated:
        return file, size
    begin = file.tell()
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(file.read(), _MOST_INFLATED + 1)
    except zlib.error:
        data = b""
    if len(data) > _MOST_INFLATED:
        raise ImageError(f"too large to decode safely: it inflates to more than {_MOST_INFLATED} bytes", name)
    if _begins(data[:8]):
        return io.BytesIO(data), len(data)
    if is_deflated and not is_plain:
        raise Fault("its TransferSyntaxUID is for deflated data, but it cannot be inflated")
    file.seek(begin)
    return file, size


def _begins(head: bytes) -> bool:
    """Returns whether bytes are the beginning of a dataset."""
    return len(head) == 8 and any(int.from_bytes(head[:2], order) in _FIRST_GROUPS for order in ("little", "big"))


def _peek(file: BinaryIO, count: int) -> bytes:
    head = file.read(count)
    file.seek(-len(head), io.SEEK_CUR)
    return head
