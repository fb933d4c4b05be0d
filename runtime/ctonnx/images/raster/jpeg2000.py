"""Samples of a JPEG 2000 file, and whether Pillow reads them correctly.

Pillow makes the largest values of colours of more than 8 bits black, and all values of fewer than 8 bits too dark.

Source: ISO/IEC 15444-1, annexes A.5.1 (the size marker) and I (the boxes).
"""

import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["MARKS", "Jpeg2000Header", "read_header"]

MARKS = (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")
"""First bytes of a code stream, and of a file with boxes."""

_SYCC, _CMYK = 18, 12
_MOST_BOXES = 1000
_SIZE = struct.Struct(">HHIIIIIIIIH")


@dataclass(frozen=True, kw_only=True)
class Jpeg2000Header:
    """Header of the first code stream of a JPEG 2000 file.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        bits: Number of bits of each sample of a pixel.
        signed: Whether each sample is signed.
        steps: Subsampling of each sample, horizontal and vertical.
        palette_bits: Number of bits of a palette's colours; 0 without a palette.
        colour_space: 16 sRGB, 17 grey, 18 sYCC, 12 CMYK; 0 if the file names none.
    """

    width: int
    height: int
    bits: tuple[int, ...]
    signed: tuple[bool, ...]
    steps: tuple[tuple[int, int], ...]
    palette_bits: int = 0
    colour_space: int = 0

    @property
    def suits_pillow(self) -> bool:
        """Whether Pillow reads the samples correctly."""
        if self.palette_bits > 8:
            return False
        return set(self.bits) == {8} or (len(self.bits) == 1 and not self.palette_bits and 10 <= self.bits[0] <= 16)

    @property
    def is_readable(self) -> bool:
        """Whether the decoded samples are grey or RGB, with or without alpha."""
        is_uniform = len(set(self.bits)) == len(set(self.signed)) == 1 and set(self.steps) == {(1, 1)}
        is_plain = not self.palette_bits and self.colour_space not in (_SYCC, _CMYK)
        return is_uniform and is_plain and 1 <= len(self.bits) <= 4

    @property
    def bytes_per_pixel(self) -> int:
        """Maximum bytes to decode a pixel: OpenJPEG keeps numbers of 32 bits."""
        return 24 * len(self.bits) + 16

    def __str__(self) -> str:
        """Returns a description of the file.

        >>> str(Jpeg2000Header(width=2, height=2, bits=(12,) * 3, signed=(True,) * 3, steps=((1, 1),) * 3))
        'a JPEG 2000 image of 3 samples of 12 bits (signed)'
        """
        bits = " + ".join(map(str, self.bits)) if len(set(self.bits)) > 1 else str(self.bits[0])
        of = f"{bits} bits" if len(self.bits) == 1 else f"{len(self.bits)} samples of {bits} bits"
        parts = ["signed" if any(self.signed) else "unsigned"]
        if set(self.steps) != {(1, 1)}:
            parts.append("subsampled")
        if self.palette_bits:
            parts.append(f"palette of {self.palette_bits} bits")
        if self.colour_space in (_SYCC, _CMYK):
            parts.append("sYCC" if self.colour_space == _SYCC else "CMYK")
        return f"a JPEG 2000 image of {of} ({', '.join(parts)})"


def read_header(file: BinaryIO) -> Jpeg2000Header | None:
    """Reads the header, or returns None if it is damaged; the file's position before and after is arbitrary."""
    with suppress(struct.error, OSError, ValueError, OverflowError):
        file.seek(0)
        if file.read(4) == MARKS[0]:
            return _code_stream(file, 0, {})
        return _boxes(file, 0, file.seek(0, 2), {})
    return None


def _boxes(file: BinaryIO, at: int, end: int, found: dict[str, int], *, is_top: bool = True) -> Jpeg2000Header | None:
    """Follows the boxes to the code stream; the boxes in the header box fill `found`.

    A header box in another one is skipped: the standard has none, and a file may nest them without end.
    """
    for _ in range(_MOST_BOXES):
        if at + 8 > end:
            return None
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
            head = 16
        stop = end if length == 0 else at + length
        if length and length < head:
            return None
        if kind == b"jp2c":
            return _code_stream(file, at + head, found)
        if kind == b"jp2h":
            if is_top:
                _boxes(file, at + head, min(stop, end), found, is_top=False)
        elif kind == b"colr" and "colour_space" not in found:
            method, _, _, space = struct.unpack(">BBBI", file.read(7))
            if method == 1:
                found["colour_space"] = space
        elif kind == b"pclr":
            _, columns = struct.unpack(">HB", file.read(3))
            found["palette_bits"] = max((bits & 0x7F) + 1 for bits in file.read(columns))
        at = stop
    return None


def _code_stream(file: BinaryIO, at: int, found: dict[str, int]) -> Jpeg2000Header:
    file.seek(at + 4)
    _, _, right, bottom, left, top, *_, count = _SIZE.unpack(file.read(_SIZE.size))
    samples = file.read(3 * count)
    if not 0 < count == len(samples) // 3:
        raise ValueError(f"{count} samples a pixel")
    return Jpeg2000Header(
        width=right - left,
        height=bottom - top,
        bits=tuple((depth & 0x7F) + 1 for depth in samples[::3]),
        signed=tuple(depth > 0x7F for depth in samples[::3]),
        steps=tuple(zip(samples[1::3], samples[2::3], strict=True)),
        **found,
    )
