"""What the first page of a TIFF file says of its samples, and whether Pillow reads these as they are meant.

Pillow takes some files for others, without a word: 12 bits a sample become black, a smallest value that is white
becomes black, unsigned 32 bits wrap, planes of 16 bits are mixed, and big-endian numbers in compressed strips are
turned twice. A grid of files (tests/runtime/test_tiff_grid.py) tells which ones it reads right: these and no others
are `TiffHeader.is_for_pillow`.

Source: TIFF 6.0, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

from ctonnx.errors import ImageError

__all__ = ["COLOURS", "FLOAT", "MARKS", "MOST_FIELDS", "SIGNED", "UNSIGNED", "TiffHeader", "read_header"]

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""The first four bytes of a TIFF or BigTIFF file, of either byte order."""

UNSIGNED: Final = 1
SIGNED: Final = 2
FLOAT: Final = 3
"""Sample formats."""

_NOT_COMPRESSED, _JPEG, _OLD_JPEG = 1, 7, 6
_RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 2, 3, 5, 6, 8
_MULTIPLIED, _ALPHA = 1, 2
_FAX = frozenset({2, 3, 4})
# Those whose streams know no size of their own, which a damaged one could put in the gigabytes.
_DECODED = _FAX | {1, 5, 8, 32773, 32946, 34925, 50000}
_PILLOWS_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32809, 32946, 34925, 50000})

_COMPRESSIONS = {
    1: "not compressed",
    2: "CCITT RLE",
    3: "CCITT fax 3",
    4: "CCITT fax 4",
    5: "LZW",
    6: "old-style JPEG",
    7: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32809: "ThunderScan",
    32946: "deflate",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34676: "SGI log",
    34677: "SGI log, 24 bits",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    34925: "LZMA",
    34933: "PNG",
    34934: "JPEG XR",
    50000: "zstd",
    50001: "WebP",
    50002: "JPEG XL",
}
_KINDS = {1: "unsigned", 2: "signed", 3: "float", 4: "of no type", 5: "complex integer", 6: "complex float"}
_PHOTOMETRICS = {
    0: "min is white",
    1: "min is black",
    2: "RGB",
    3: "palette",
    4: "a mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "a camera's colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "a camera's linear raw",
}
COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3, 9: 3, 10: 3}
"""How many samples a pixel's grey or colour has, by the photometric interpretation."""

# Bytes of a value, and its letter of `struct`, for each type of a field.
_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}
MOST_FIELDS = 4096
"""Of a directory that is read: a damaged or hostile file claims any number."""

_MOST_VALUES = 3 * 2**16  # of a field: the colours of a palette of 16 bits


@dataclass(frozen=True, kw_only=True)
class TiffHeader:
    """The first page of a TIFF file.

    Attributes:
        width: in pixels, as it is stored: before the orientation is applied.
        height: as `width`.
        bits: of each sample of a pixel.
        kinds: Their sample formats: 1 unsigned, 2 signed, 3 float.
        photometric: 0 min is white, 1 min is black, 2 RGB, 3 palette, 5 CMYK, 6 YCbCr.
        extra: what the samples beyond the colours are: 0 unspecified, 1 associated alpha, 2 alpha.
        compression: The tag's value.
        planar: 1 samples of a pixel side by side, 2 a plane for each.
        predictor: 1 none, 2 differences, 3 of floats.
        fill_order: 2 where the bits of each byte are turned around.
        orientation: as EXIF has it.
        palette: 16-bit red, green and blue values, or nothing.
        subsampling: of the chroma of YCbCr, across and down.
        ink_set: 1 is CMYK.
        is_big_endian: The byte order.
        is_bigtiff: Offsets of 64 bits.
        has_more: Whether further pages follow.
    """

    width: int
    height: int
    bits: tuple[int, ...]
    kinds: tuple[int, ...]
    photometric: int
    extra: tuple[int, ...] = ()
    compression: int = 1
    planar: int = 1
    predictor: int = 1
    fill_order: int = 1
    orientation: int = 1
    palette: tuple[int, ...] = ()
    subsampling: tuple[int, ...] = (1, 1)
    ink_set: int = 1
    is_big_endian: bool = False
    is_bigtiff: bool = False
    has_more: bool = False

    @property
    def samples(self) -> int:
        """Of a pixel."""
        return len(self.bits)

    @property
    def is_for_pillow(self) -> bool:
        """Whether Pillow makes of it what the file says."""
        if self.compression not in _PILLOWS_COMPRESSIONS or (self.is_big_endian and self.is_bigtiff):
            return False
        bits, kind, channels, photometric = self.bits[0], self.kinds[0], self.samples, self.photometric
        if not self._is_even or self.ink_set != 1:
            return False
        if self.fill_order != 1:  # fax
            return bits == channels == kind == 1 and photometric in (0, 1)
        if kind != UNSIGNED:
            # libtiff gives numbers of a compressed strip in this machine's order, and Pillow turns them once more.
            in_order = self.compression == _NOT_COMPRESSED or not self.is_big_endian
            is_wide = (bits, kind) in ((16, SIGNED), (32, SIGNED), (32, FLOAT))
            return is_wide and in_order and channels == 1 and photometric == 1
        # A palette of 8-bit colours becomes black in Pillow.
        if photometric == _PALETTE and (len(self.palette) != 3 * 2**bits or max(self.palette) < 256):
            return False
        if photometric == _YCBCR:
            is_whole = self.compression in (_JPEG, _OLD_JPEG) or self.subsampling == (1, 1)
            return bits == 8 and channels == 3 and self.planar == 1 and is_whole
        if self.planar != 1 and channels > 1:
            return bits == 8 and channels == 3 and photometric == _RGB and self.compression != _JPEG
        if bits == 16:
            return channels <= {1: 1, _RGB: 4, _CMYK: 4}.get(photometric, 0)
        return (bits == 8 and self._has_extra_of_pillow) or (bits in (1, 2, 4) and channels == 1 and photometric <= 3)

    @property
    def _is_even(self) -> bool:
        """Whether all samples are of one kind, and it is known what each is."""
        extra = self.samples - COLOURS.get(self.photometric, self.samples + 1)
        is_known = extra == len(self.extra) or (self.photometric == _RGB and extra == 1 and not self.extra)
        return is_known and len(set(self.bits)) == len(set(self.kinds)) == 1

    @property
    def _has_extra_of_pillow(self) -> bool:
        """Whether Pillow has a mode for what stands beside the colours of 8 bits."""
        first, further = self.extra[:1], any(self.extra[1:])
        return {
            0: not self.extra,
            1: len(self.extra) <= 1,
            _RGB: not further,
            _PALETTE: len(self.extra) <= 1 and first != (_MULTIPLIED,),
            _CMYK: not any(self.extra),
            _LAB: not self.extra,
        }.get(self.photometric, False)

    @property
    def is_readable(self) -> bool:
        """Whether the samples, as a decoder gives them, have a rule in `ctonnx.images.raster.depth`."""
        if not self._is_even or self.compression not in _DECODED:
            return False
        bits, kind, photometric = self.bits[0], self.kinds[0], self.photometric
        # Of whole numbers between 16 and 32 bits writers disagree about the order of the bytes.
        known = {UNSIGNED: {*range(1, 17), 32, 64}, SIGNED: {8, 16, 32, 64}, FLOAT: {16, 24, 32, 64}}
        steps = {1: {*range(1, 65)}, 2: {8, 16, 32, 64}, 3: {16, 32, 64} if kind == FLOAT else set()}
        if bits not in known.get(kind, ()) or bits not in steps.get(self.predictor, ()):
            return False
        is_ranged = kind == UNSIGNED and bits <= 16
        if self.is_multiplied and not (is_ranged and photometric in (1, _RGB)):
            return False  # without a range, what is dark and what is transparent look alike
        if self.alpha is not None and kind == SIGNED:
            return False
        if self.compression in _FAX:
            return bits == self.samples == 1
        if photometric == _PALETTE:
            return is_ranged and len(self.palette) == 3 * 2**bits
        if photometric == _CMYK:
            return is_ranged and self.ink_set == 1
        if photometric == _YCBCR:
            return kind == UNSIGNED and bits == 8 and self.subsampling == (1, 1)
        return photometric in (0, 1, _RGB)

    @property
    def alpha(self) -> int | None:
        """The sample that holds how opaque a pixel is, or None. A fourth one of RGB is it, where the file is silent."""
        colours = COLOURS.get(self.photometric, self.samples)
        extra = self.extra or (_ALPHA,) * (self.photometric == _RGB and self.samples == 4)
        return next((colours + i for i, meaning in enumerate(extra) if meaning in (_MULTIPLIED, _ALPHA)), None)

    @property
    def is_multiplied(self) -> bool:
        """Whether the colours are multiplied with their alpha already."""
        return next((meaning == _MULTIPLIED for meaning in self.extra if meaning in (_MULTIPLIED, _ALPHA)), False)

    @property
    def bytes_a_pixel(self) -> int:
        """Bytes that decoding takes at most: as stored and as decoded, and what `depth` makes of them."""
        stored = next((size for size in (1, 2, 4) if self.bits[0] <= 8 * size), 8)
        return 3 * self.samples * stored + 16

    def __str__(self) -> str:
        """Says what the file is.

        >>> str(TiffHeader(width=2, height=2, bits=(12,), kinds=(1,), photometric=0, compression=5))
        'a TIFF image of 12 bits (unsigned, min is white, LZW)'
        """
        bits = " + ".join(map(str, self.bits)) if len(set(self.bits)) > 1 else str(self.bits[0])
        of = f"{bits} bits" if self.samples == 1 else f"{self.samples} samples of {bits} bits"
        kinds = " + ".join(_KINDS.get(kind, f"sample format {kind}") for kind in dict.fromkeys(self.kinds))
        parts = [
            kinds,
            _PHOTOMETRICS.get(self.photometric, f"photometric interpretation {self.photometric}"),
            _COMPRESSIONS.get(self.compression, f"compression {self.compression}"),
        ]
        if self.samples > 1 and self.planar != 1:
            parts.append("in planes")
        if self.predictor != 1:
            parts.append(f"predictor {self.predictor}")
        if self.photometric == _YCBCR and self.subsampling != (1, 1):
            parts.append("subsampled")
        return f"a TIFF image of {of} ({', '.join(parts)})"


def read_header(file: BinaryIO, name: str) -> TiffHeader:
    """Reads the first page's fields; `file` stands anywhere, before and after.

    Raises:
        ImageError: they are damaged, or do not make sense.
    """
    try:
        return _header(*_fields(file))
    except (struct.error, ValueError, OverflowError, OSError, IndexError) as error:
        reason = str(error) if isinstance(error, ValueError) else "its first directory cannot be read"
        raise ImageError(f"damaged image: {reason}", name) from error


_Values = tuple[int, ...]
_WANTED = frozenset({256, 257, 258, 259, 262, 266, 274, 277, 284, 317, 320, 332, 338, 339, 530, 32997})


def _fields(file: BinaryIO) -> tuple[dict[int, _Values], dict[str, bool]]:
    """Returns the wanted fields of the first directory, and how the file is made."""
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:1] == b"I" else ">"
    is_bigtiff = 43 in head[2:4]
    if is_bigtiff:
        (at,) = struct.unpack_from(order + "Q", head, 8)
        count_letter, long, room = "Q", "Q", 8
    else:
        (at,) = struct.unpack_from(order + "I", head, 4)
        count_letter, long, room = "H", "I", 4
    file.seek(at)
    (count,) = struct.unpack(order + count_letter, file.read(struct.calcsize(order + count_letter)))
    step = 4 + 2 * room
    if count > MOST_FIELDS:
        raise ValueError(f"its first directory has {count} fields")
    listed = file.read(count * step + room)
    found: dict[int, _Values] = {}
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
    return found, {"is_big_endian": order == ">", "is_bigtiff": is_bigtiff, "has_more": following != 0}


def _header(fields: dict[int, _Values], marks: dict[str, bool]) -> TiffHeader:
    def one(tag: int, otherwise: int) -> int:
        return int(fields.get(tag, (otherwise,))[0])

    width, height, depth = one(256, 0), one(257, 0), one(32997, 1)
    if depth != 1:
        raise ValueError(f"{depth} slices in one page")
    # The field is required; where it lacks, Pillow takes 0, which is what fax software meant.
    photometric = one(262, 0)
    compression = one(259, 1)
    if compression == _OLD_JPEG:
        photometric = _YCBCR
    samples = one(277, COLOURS.get(photometric, 1) if compression == _OLD_JPEG else 1)
    if not 1 <= samples <= 2**16:
        raise ValueError(f"{samples} samples a pixel")
    return TiffHeader(
        width=width,
        height=height,
        bits=_each(fields.get(258, (1,)), samples),
        kinds=_each(fields.get(339, (1,)), samples),
        photometric=photometric,
        extra=tuple(int(value) for value in fields.get(338, ())),
        compression=compression,
        planar=one(284, 1),
        predictor=one(317, 1),
        fill_order=one(266, 1),
        orientation=one(274, 1),
        palette=tuple(int(value) for value in fields.get(320, ())),
        subsampling=tuple(int(value) for value in fields.get(530, (2, 2) if photometric == _YCBCR else (1, 1))),
        ink_set=one(332, 1),
        **marks,
    )


def _each(values: _Values, samples: int) -> _Values:
    """Returns a value for each sample: writers give one for all, or some too many."""
    if len(values) < samples and len(values) != 1:
        raise ValueError(f"{len(values)} values for {samples} samples a pixel")
    return tuple(int(value) for value in (values * samples if len(values) == 1 else values[:samples]))
