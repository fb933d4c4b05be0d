"""Samples of the first page of a TIFF file, and whether Pillow reads them correctly.

Pillow silently misreads some files: samples of 12 bits become black, a minimum that is white becomes black, unsigned
32 bits wrap, planes of 16 bits are mixed, and big-endian numbers in compressed strips are swapped twice.
`TiffHeader.suits_pillow` is True for exactly those files that Pillow reads correctly in the grid of
tests/runtime/images/raster/test_tiff_grid.py.

Source: TIFF 6.0, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

from ctonnx.errors import ImageError
from ctonnx.images.raster.tiff_directory import read_directory

__all__ = ["COLOURS", "FLOAT", "SIGNED", "UNSIGNED", "TiffHeader", "read_header"]

UNSIGNED: Final = 1
SIGNED: Final = 2
FLOAT: Final = 3
"""Sample formats."""

_NOT_COMPRESSED, _JPEG, _OLD_JPEG = 1, 7, 6
_RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 2, 3, 5, 6, 8
_MULTIPLIED, _ALPHA = 1, 2
_FAX = frozenset({2, 3, 4})
# Compressions whose streams have no size of their own, which damage could raise to gigabytes.
_DECODED = _FAX | {1, 5, 8, 32773, 32946, 34925, 50000}
_COMPRESSIONS_OF_PILLOW = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32809, 32946, 34925, 50000})

_COMPRESSIONS = {
    1: "not compressed",
    2: "CCITT RLE",
    3: "CCITT fax 3",
    4: "CCITT fax 4",
    5: "LZW",
    6: "old-style JPEG",
    7: "JPEG",
    **dict.fromkeys((8, 32946), "deflate"),
    32773: "PackBits",
    32809: "ThunderScan",
    **dict.fromkeys((33003, 33005, 34712), "JPEG 2000"),
    34676: "SGI log",
    34677: "SGI log, 24 bits",
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
"""Number of samples of a pixel's grey or colour, by the photometric interpretation."""


@dataclass(frozen=True, kw_only=True)
class TiffHeader:
    """The first page of a TIFF file.

    Attributes:
        width: Width in pixels, before the orientation is applied.
        height: Height in pixels, before the orientation is applied.
        bits: Number of bits of each sample of a pixel.
        kinds: Sample format of each sample: 1 unsigned, 2 signed, 3 float.
        photometric: 0 min is white, 1 min is black, 2 RGB, 3 palette, 5 CMYK, 6 YCbCr.
        extra: Meaning of each sample after the colours: 0 unspecified, 1 associated alpha, 2 alpha.
        compression: Value of the tag.
        planar: 1 for the samples of a pixel side by side, 2 for a plane for each.
        predictor: 1 none, 2 differences, 3 differences of floats.
        fill_order: 2 if the bits of each byte are reversed.
        orientation: Orientation as in EXIF.
        palette: 16-bit red, green and blue values, or empty.
        subsampling: Subsampling of the chroma of YCbCr, horizontal and vertical.
        ink_set: 1 is CMYK.
        is_big_endian: Whether numbers are big-endian.
        is_bigtiff: Whether offsets have 64 bits.
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
        """Number of samples of a pixel."""
        return len(self.bits)

    @property
    def suits_pillow(self) -> bool:
        """Whether Pillow reads the samples correctly."""
        if self.compression not in _COMPRESSIONS_OF_PILLOW or (self.is_big_endian and self.is_bigtiff):
            return False
        bits, kind, channels, photometric = self.bits[0], self.kinds[0], self.samples, self.photometric
        if not self._is_uniform or self.ink_set != 1:
            return False
        if self.fill_order != 1:  # fax
            return bits == channels == kind == 1 and photometric in (0, 1)
        if kind != UNSIGNED:
            # libtiff returns numbers of a compressed strip in this machine's byte order, and Pillow swaps them again.
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
        return (bits == 8 and self._has_pillow_mode) or (bits in (1, 2, 4) and channels == 1 and photometric <= 3)

    @property
    def _is_uniform(self) -> bool:
        """Whether all samples are of one kind and their meaning is known."""
        extra = self.samples - COLOURS.get(self.photometric, self.samples + 1)
        is_known = extra == len(self.extra) or (self.photometric == _RGB and extra == 1 and not self.extra)
        return is_known and len(set(self.bits)) == len(set(self.kinds)) == 1

    @property
    def _has_pillow_mode(self) -> bool:
        """Whether Pillow has a mode for the extra samples next to colours of 8 bits."""
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
        """Whether `ctonnx.images.raster.depth` has a rule for the decoded samples."""
        if not self._is_uniform or self.compression not in _DECODED:
            return False
        bits, kind, photometric = self.bits[0], self.kinds[0], self.photometric
        # Writers disagree about the byte order of integers of 17 to 31 bits.
        known = {UNSIGNED: {*range(1, 17), 32, 64}, SIGNED: {8, 16, 32, 64}, FLOAT: {16, 24, 32, 64}}
        steps = {1: {*range(1, 65)}, 2: {8, 16, 32, 64}, 3: {16, 32, 64} if kind == FLOAT else set()}
        if bits not in known.get(kind, ()) or bits not in steps.get(self.predictor, ()):
            return False
        is_ranged = kind == UNSIGNED and bits <= 16
        if self.is_premultiplied and not (is_ranged and photometric in (1, _RGB)):
            return False  # without a range, dark and transparent look the same
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
        """Index of the alpha sample, or None. An undeclared fourth sample of RGB is alpha."""
        colours = COLOURS.get(self.photometric, self.samples)
        extra = self.extra or (_ALPHA,) * (self.photometric == _RGB and self.samples == 4)
        return next((colours + i for i, meaning in enumerate(extra) if meaning in (_MULTIPLIED, _ALPHA)), None)

    @property
    def is_premultiplied(self) -> bool:
        """Whether the colours are already multiplied with alpha."""
        return next((meaning == _MULTIPLIED for meaning in self.extra if meaning in (_MULTIPLIED, _ALPHA)), False)

    @property
    def bytes_per_pixel(self) -> int:
        """Maximum bytes to decode a pixel: stored, decoded, and converted by `depth`."""
        stored = next((size for size in (1, 2, 4) if self.bits[0] <= 8 * size), 8)
        return 3 * self.samples * stored + 16

    def __str__(self) -> str:
        """Returns a description of the file.

        >>> str(TiffHeader(width=2, height=2, bits=(12,), kinds=(1,), photometric=0, compression=5))
        'a TIFF image of 12 bits (unsigned, min is white, LZW)'
        """
        bits = " + ".join(map(str, self.bits)) if len(set(self.bits)) > 1 else str(self.bits[0])
        of = f"{bits} bits" if self.samples == 1 else f"{self.samples} samples of {bits} bits"
        parts = [
            " + ".join(_KINDS.get(kind, f"sample format {kind}") for kind in dict.fromkeys(self.kinds)),
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
    """Reads the header of the first page; the file's position before and after is arbitrary.

    Raises:
        ImageError: If the header is damaged or inconsistent.
    """
    try:
        return _header(*read_directory(file))
    except (struct.error, ValueError, OverflowError, OSError, IndexError) as error:
        reason = str(error) if isinstance(error, ValueError) else "its first directory cannot be read"
        raise ImageError(f"damaged image: {reason}", name) from error


def _header(fields: dict[int, tuple[int, ...]], marks: dict[str, bool]) -> TiffHeader:
    def one(tag: int, default: int) -> int:
        return int(fields.get(tag, (default,))[0])

    width, height, depth = one(256, 0), one(257, 0), one(32997, 1)
    if depth != 1:
        raise ValueError(f"{depth} slices in one page")
    # The field is required; if it is missing, Pillow assumes 0, as fax software meant.
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


def _each(values: tuple[int, ...], samples: int) -> tuple[int, ...]:
    """Returns a value for each sample: some writers give one for all, or too many."""
    if len(values) < samples and len(values) != 1:
        raise ValueError(f"{len(values)} values for {samples} samples a pixel")
    return tuple(int(value) for value in (values * samples if len(values) == 1 else values[:samples]))
