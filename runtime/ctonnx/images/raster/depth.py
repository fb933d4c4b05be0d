"""Samples of any bit depth to 8-bit grey or colour.

| samples | rule |
| --- | --- |
| unsigned, up to 16 bits | the full range of these bits becomes 0..255, rounded |
| unsigned of more bits, signed, floats | no range is defined: the finite minimum..maximum of the image becomes 0..255 |
| NaN | 0 |
| the minimum is white | inverted after that |
| palette | its colours |
| CMYK, YCbCr | Pillow's conversion to RGB |
| alpha | composited on black: opaque is all bits set, 1 for floats; premultiplied colours are unchanged |
| further samples | ignored |

These are the rules of `ctonnx.images.modes`, for samples that Pillow has no mode for. A TIFF file's declared minimum
and maximum are not used: TIFF 6.0 excludes MinSampleValue and MaxSampleValue from the display (page 37), and
SMinSampleValue and SMaxSampleValue are often statistics.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctonnx.images.modes import finite_range

__all__ = ["CMYK", "MIN_IS_WHITE", "PALETTE", "YCBCR", "from_samples"]

MIN_IS_WHITE, PALETTE, CMYK, YCBCR = 0, 3, 5, 6
"""Photometric interpretations of TIFF with their own rules."""

_MOST_BITS_OF_A_RANGE = 16
_BLOCK = 1 << 18  # samples converted at a time


def from_samples(
    samples: NDArray[np.generic],
    *,
    bits: int,
    photometric: int,
    colours: int,
    alpha: int | None = None,
    is_premultiplied: bool = False,
    palette: Sequence[int] = (),
    is_full_range: bool = False,
) -> Image.Image:
    """Returns an image of mode `L` or `RGB`, by the module's table.

    Args:
        samples: Integers or floats of shape [height, width, channels].
        bits: Number of bits of a sample; the array's dtype may have more.
        photometric: Photometric interpretation of TIFF.
        colours: Number of colour channels: 1 grey, 3 RGB, 4 CMYK.
        alpha: Index of the alpha channel; None if there is none.
        is_premultiplied: Whether the colours are already multiplied with alpha.
        palette: 16-bit red, green and blue values of a palette, or 8-bit ones if none is above 255.
        is_full_range: Whether the full range becomes 0..255 for more than 16 bits, too.
    """
    height, width = samples.shape[:2]
    is_ranged = samples.dtype.kind == "u" and (is_full_range or bits <= _MOST_BITS_OF_A_RANGE)
    colour_blocks = (block for _, block in _blocks(samples[:, :, :colours]))
    ends = (0.0, float(2**bits - 1)) if is_ranged else finite_range(colour_blocks)
    lookup = _colours_of(palette) if photometric == PALETTE else None
    grey = colours == 1 and lookup is None
    whole = Image.new("L" if grey else "RGB", (width, height))
    for top, block in _blocks(samples):
        if lookup is not None:
            eight = lookup[block[:, :, 0].astype(np.int64)]
        else:
            eight = _stretched(block[:, :, :colours], *ends)
        if photometric == MIN_IS_WHITE:
            eight = np.where(np.isnan(block[:, :, :colours]), 0, 255 - eight).astype(np.uint8)
        if photometric in (CMYK, YCBCR):
            mode = "CMYK" if photometric == CMYK else "YCbCr"
            converted = Image.frombytes(mode, (width, len(eight)), np.ascontiguousarray(eight).tobytes())
            eight = np.asarray(converted.convert("RGB"))
        if alpha is not None and not is_premultiplied:
            full = 1.0 if samples.dtype.kind == "f" else float(2**bits - 1)
            opacity = _stretched(block[:, :, alpha : alpha + 1], 0.0, full)
            eight = ((eight.astype(np.uint16) * opacity + 127) // 255).astype(np.uint8)
        whole.paste(Image.fromarray(np.ascontiguousarray(eight[:, :, 0] if grey else eight)), (0, top))
    return whole


def _blocks(samples: NDArray[np.generic]) -> Iterator[tuple[int, NDArray[np.generic]]]:
    """Yields blocks of rows, each with the number of its first row."""
    rows = max(1, _BLOCK // max(1, samples.shape[1] * samples.shape[2]))
    for top in range(0, samples.shape[0], rows):
        yield top, samples[top : top + rows]


def _stretched(samples: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    values = samples.astype(np.float64)
    if high == low:
        return np.zeros(values.shape, np.uint8)
    # Halved first: the span of all floats is larger than any float.
    half_span = high / 2 - low / 2
    inside = np.clip(np.nan_to_num(values, nan=low, posinf=high, neginf=low), low, high)
    return np.floor((inside / 2 - low / 2) / half_span * 255 + 0.5).astype(np.uint8)


def _colours_of(palette: Sequence[int]) -> NDArray[np.uint8]:
    """Returns the palette's colours, uint8 [colours, 3]."""
    values = np.asarray(palette, np.uint32).reshape(3, -1).T
    eight_bit = values if values.max() < 256 else (values + 128) // 257
    return eight_bit.astype(np.uint8)
