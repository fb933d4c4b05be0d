"""TIFF files in a grid of bits, types, byte orders, compressions, planes and colours: right greys, or an error.

The expected greys are computed from the written values by the rules of docs/reference/images.md, not by another reader.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.runtime.images.raster.tiff_files import (
    CMYK,
    DEFLATE,
    FLOAT,
    JPEG,
    JPEG_2000,
    JPEG_XL,
    LZMA,
    LZW,
    MIN_IS_BLACK,
    MIN_IS_WHITE,
    NONE,
    OLD_DEFLATE,
    PACKBITS,
    PALETTE,
    RGB,
    SIGNED,
    UNSIGNED,
    WEBP,
    YCBCR,
    ZSTD,
    Order,
    ramp,
    tiff,
)

from ctonnx.errors import ImageError
from ctonnx.images import load

W, H = 24, 12
_TOLERANCE = 2.0  # Pillow drops the low byte of 16-bit colour, of CMYK for each ink
UNIT = np.tile(np.linspace(0, 1, W), (H, 1))
UNIT[H // 2 :] = UNIT[H // 2 :, ::-1]  # rows differ, so that a mixed-up order shows

DEPTHS = (
    *((bits, UNSIGNED) for bits in (1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32, 64)),
    *((bits, SIGNED) for bits in (8, 12, 16, 32, 64)),
    *((bits, FLOAT) for bits in (16, 24, 32, 64)),
)
WORDS = (8, 16, 32, 64)  # bits that a predictor of differences takes


class Colour(NamedTuple):
    """Photometric interpretation, and the meaning of the extra samples."""

    photometric: int
    colours: int
    extra: tuple[int, ...] = ()


COLOURS = (
    Colour(MIN_IS_WHITE, 1),
    Colour(MIN_IS_WHITE, 1, (2,)),
    Colour(MIN_IS_BLACK, 1),
    Colour(MIN_IS_BLACK, 1, (2,)),
    Colour(MIN_IS_BLACK, 1, (1,)),
    Colour(MIN_IS_BLACK, 1, (0,)),
    Colour(MIN_IS_BLACK, 1, (0, 2)),
    Colour(RGB, 3),
    Colour(RGB, 3, (2,)),
    Colour(RGB, 3, (1,)),
    Colour(RGB, 3, (0,)),
    Colour(PALETTE, 1),
    Colour(CMYK, 4),
    Colour(CMYK, 4, (0,)),
    Colour(YCBCR, 3),
)


class Variant(NamedTuple):
    """A file of the grid."""

    bits: int
    kind: int
    compression: int
    predictor: int
    order: Order
    colour: Colour
    planar: int


def grid(compressions: tuple[int, ...]) -> Iterator[Variant]:
    """Yields the combinations that can be written."""
    orders: tuple[Order, ...] = ("<", ">")
    for (bits, kind), compression, predictor, order, colour, planar in product(
        DEPTHS, compressions, (1, 2, 3), orders, COLOURS, (1, 2)
    ):
        is_image = compression in (JPEG, JPEG_2000, JPEG_XL, WEBP)
        is_grey = colour == Colour(MIN_IS_BLACK, 1)
        if (
            (predictor != 1 and (compression in (NONE, PACKBITS) or is_image))
            or (predictor == 2 and bits not in WORDS)
            or (predictor == 3 and (kind != FLOAT or bits == 24 or colour.colours + len(colour.extra) != 1))
            or (planar == 2 and (colour.colours + len(colour.extra) == 1 or is_image))
            or (kind != UNSIGNED and colour.photometric in (PALETTE, CMYK, YCBCR))
            or (colour.photometric == PALETTE and bits > 16)
            or (
                compression == JPEG and ((bits, kind) != (8, UNSIGNED) or colour.extra or colour.photometric == PALETTE)
            )
            or (compression in (JPEG_2000, JPEG_XL) and not (kind == UNSIGNED and bits in (8, 16) and is_grey))
            or (compression == WEBP and not ((bits, kind) == (8, UNSIGNED) and colour == Colour(RGB, 3)))
        ):
            continue
        yield Variant(bits, kind, compression, predictor, order, colour, planar)


def written(variant: Variant, **more: Any) -> tuple[bytes, NDArray[np.float64]]:
    """Returns the file, and the right greys or colours of its pixels, 0 to 255."""
    bits, kind, (photometric, _, extra) = variant.bits, variant.kind, variant.colour
    green, blue, half = 1 - UNIT, np.full_like(UNIT, 0.25), np.full_like(UNIT, 0.5)
    tags: dict[int, tuple[int, list[int]]] = {}
    shown = _shown(bits, kind)
    if photometric in (MIN_IS_WHITE, MIN_IS_BLACK):
        planes, right = [UNIT], 255 * shown(UNIT)
        right = 255 - right if photometric == MIN_IS_WHITE else right
    elif photometric == PALETTE:
        entries = np.linspace(0, 65535, 2**bits).astype(int)
        table = np.stack([entries, entries[::-1], entries // 2], axis=-1)
        tags[320] = (3, table.T.reshape(-1).tolist())
        planes, right = [UNIT], table[ramp(UNIT, bits, kind).astype(int)] / 257
    elif photometric == CMYK:
        planes = [UNIT, green, blue, blue]
        right = 255 * np.stack([(1 - shown(ink)) * (1 - shown(blue)) for ink in planes[:3]], axis=-1)
    elif photometric == YCBCR:
        tags[530] = (3, [1, 1])
        no_colour = np.full_like(UNIT, 128.1 / 255)
        planes, right = [UNIT, no_colour, no_colour], np.repeat(255 * shown(UNIT)[:, :, None], 3, axis=2)
        if variant.compression == JPEG:  # its encoder takes RGB
            planes = [UNIT] * 3
    else:
        planes = [UNIT, green, blue]
        right = 255 * np.stack([shown(plane) for plane in planes], axis=-1)
    if extra in ((2,), (0, 2)):
        right = right * (shown(half) if right.ndim == 2 else shown(half)[:, :, None])
    if extra == (1,):
        planes = [plane * 0.5 for plane in planes]
        right = 255 * (np.stack([shown(plane) for plane in planes], axis=-1) if right.ndim == 3 else shown(planes[0]))
    planes += [half] * len(extra)
    samples = np.stack([ramp(plane, bits, kind) for plane in planes], axis=-1)
    data = tiff(
        samples,
        bits=bits,
        kind=kind,
        photometric=photometric,
        order=variant.order,
        compression=variant.compression,
        planar=variant.planar,
        predictor=variant.predictor,
        extra=extra,
        tags=tags,
        **more,
    )
    return data, right


def _shown(bits: int, kind: int) -> Any:
    """Returns the function that rounds values to those that the bits can hold."""
    if kind == FLOAT:
        return lambda plane: plane
    steps = 2**bits - 1
    return lambda plane: np.floor(np.rint(plane * 2**20) * float(steps) / 2**20) / steps


def outcome(data: bytes, right: NDArray[np.float64], tolerance: float) -> str:
    """Returns the outcome of reading a file: `right`, `wrong`, or the error's reason."""
    try:
        found = np.asarray(load(data)).astype(float)
    except ImageError as error:
        return error.reason
    if found.ndim == 3 and right.ndim == 2:
        right = np.repeat(right[:, :, None], 3, axis=2)
    is_right = found.shape == right.shape and float(np.abs(found - right).max()) <= tolerance
    return "right" if is_right else "wrong"


DESCRIPTION = re.compile(
    r"a TIFF image of (\d samples of )?\d+ bits \((unsigned|signed|float), [^,]+, [^,]+(, in planes)?(, predictor \d)?"
    r"(, subsampled)?\), which is not supported; convert it to PNG, or to TIFF of 8 or 16 bits"
)

COMPRESSIONS = {
    "not compressed": (NONE,),
    "LZW": (LZW,),
    "deflate": (DEFLATE,),
    "PackBits": (PACKBITS,),
    "zstd": (ZSTD,),
    "every seventh of old deflate and of LZMA": (OLD_DEFLATE, LZMA),
    "JPEG": (JPEG,),
    "other pictures": (JPEG_2000, JPEG_XL, WEBP),
}

FILES = {
    "not compressed": (1002, 710),
    "LZW": (1506, 1050),
    "deflate": (1506, 1050),
    "PackBits": (1002, 710),
    "zstd": (1506, 1050),
    "every seventh of old deflate and of LZMA": (431, 304),
    "JPEG": (10, 10),
    "other pictures": (10, 0),
}
"""Number of files of a compression in the grid, and of those that are read correctly."""


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_no_file_of_the_grid_is_misread(compression: str) -> None:
    tolerance = 6.0 if compression == "JPEG" else _TOLERANCE
    variants = list(grid(COMPRESSIONS[compression]))[:: 7 if "seventh" in compression else 1]
    found = {variant: outcome(*written(variant), tolerance) for variant in variants}
    assert [variant for variant, result in found.items() if result == "wrong"] == []
    assert {result for result in found.values() if result != "right" and not DESCRIPTION.fullmatch(result)} == set()
    count = Counter(result == "right" for result in found.values())
    assert (len(found), count[True]) == FILES[compression]


LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {"rows": 5},
    "tiles": {"tile": (16, 16)},
    "bits of a byte turned around": {"fill_order": 2},
    "BigTIFF": {"big": True},
    "BigTIFF in tiles": {"big": True, "tile": (16, 16)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", [NONE, LZW])
def test_no_layout_of_the_file_is_misread(layout: str, compression: int) -> None:
    variants = [variant for variant in grid((compression,)) if variant.predictor == 1][::3]
    found = {variant: outcome(*written(variant, **LAYOUTS[layout]), _TOLERANCE) for variant in variants}
    assert [variant for variant, result in found.items() if result == "wrong"] == []
    assert {result for result in found.values() if result != "right" and not DESCRIPTION.fullmatch(result)} == set()
    plain = Counter(outcome(*written(variant), _TOLERANCE) == "right" for variant in variants)
    assert Counter(result == "right" for result in found.values()) == plain


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_to_files_that_pillow_misreads(orientation: int) -> None:
    values = np.array([[0, 1000, 2000], [3000, 3500, 4095]])
    eight_bit = Image.fromarray(np.rint(values / 4095 * 255).astype(np.uint8))
    shallow = tiff(np.asarray(eight_bit), bits=8, tags={274: (3, [orientation])})
    deep = tiff(values, bits=12, tags={274: (3, [orientation])})
    np.testing.assert_array_equal(np.asarray(load(deep)), np.asarray(load(shallow)))
