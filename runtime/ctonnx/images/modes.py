"""Conversion of any Pillow mode to 8-bit grey or colour, with no more memory than the image and its result.

| Pillow mode | rule |
| --- | --- |
| `1` | black and white become 0 and 255 |
| `L`, `RGB` | unchanged |
| `LA`, `La`, `RGBA`, `RGBa`, `PA` and transparent colours | composited on black |
| `P` | its palette's colours |
| `RGBX` | the padding channel is dropped |
| `CMYK`, `YCbCr`, `HSV` | Pillow's conversion to RGB |
| `LAB` | converted to sRGB through its colour profile |
| `I;16`, `I;16L`, `I;16B`, `I;16N`, and `I` of a 16-bit PGM | the full range 0..65535 becomes 0..255, rounded |
| other `I`, `F` | no range is defined for them: the image's own finite minimum..maximum becomes 0..255; NaN becomes 0 |
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctonnx.errors import ImageError

__all__ = ["bytes_per_pixel", "finite_range", "from_array", "stretched", "to_8_bit"]

_TILE = 1 << 18  # pixels converted at a time, so that intermediate arrays stay small
_16_BITS = 65535.0
_WHOLE = ("WEBP", "JPEG2000", "AVIF")
_GREY = ("1", "L", "LA", "La", "I", "F")


def bytes_per_pixel(mode: str, file_format: str | None = None) -> int:
    """Returns the maximum bytes per pixel that decoding, transposing and `to_8_bit` take.

    This is four times Pillow's size of a pixel, for the image decoded, upright and in 8 bits; and twice as much for
    formats whose decoder keeps a whole image itself.

    >>> bytes_per_pixel("L"), bytes_per_pixel("I;16"), bytes_per_pixel("RGB"), bytes_per_pixel("RGB", "JPEG2000")
    (4, 8, 16, 32)
    """
    kept = 2 if mode.startswith("I;16") else 1 if mode in ("1", "L") else 4
    return 4 * kept * (2 if file_format in _WHOLE else 1)


def to_8_bit(image: Image.Image, *, is_16_bit: bool = False) -> Image.Image:
    """Returns a new image of mode `L` or `RGB`, by the module's table.

    Args:
        image: Image of any Pillow mode; it is not changed.
        is_16_bit: Whether an image of mode `I` has 16-bit values, as Pillow reads a PGM file.
    """
    ends = (0.0, _16_BITS) if is_16_bit else _ends(image)
    if ends is None and not image.has_transparency_data and image.mode != "LAB":
        return image.convert("L" if image.mode in _GREY else "RGB")
    grey = ends is not None or image.mode in _GREY
    whole = Image.new("L" if grey else "RGB", image.size)
    for left, top, tile in _tiles(image):
        whole.paste(_tile_to_8_bit(tile, ends), (left, top))
    return whole


def _tiles(image: Image.Image) -> Iterator[tuple[int, int, Image.Image]]:
    """Yields copies of an image's tiles, each with its first column and row."""
    width = min(image.width, _TILE)
    height = max(1, _TILE // max(width, 1))
    for top in range(0, image.height, height):
        for left in range(0, image.width, width):
            right, bottom = min(left + width, image.width), min(top + height, image.height)
            yield left, top, image.crop((left, top, right, bottom))


def _ends(image: Image.Image) -> tuple[float, float] | None:
    """Returns the values that become black and white, or None for a mode of 8 bits."""
    if image.mode.startswith("I;16"):
        return 0.0, _16_BITS
    if image.mode not in ("I", "F"):
        return None
    return finite_range(np.asarray(tile) for _, _, tile in _tiles(image))


def finite_range(arrays: Iterable[NDArray[Any]]) -> tuple[float, float]:
    """Returns the finite minimum and maximum of all values, or zeros without any."""
    low, high = np.inf, -np.inf
    for values in arrays:
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def _tile_to_8_bit(tile: Image.Image, ends: tuple[float, float] | None) -> Image.Image:
    mode = tile.mode
    if mode.startswith("I;16"):  # like `stretched`, with integers: 65535 is 257 times 255
        full_range = np.asarray(tile).astype(np.uint32)
        full_range[full_range == tile.info.get("transparency", -1)] = 0
        return Image.fromarray(((full_range + 128) // 257).astype(np.uint8))
    if ends is not None:
        return Image.fromarray(stretched(np.asarray(tile, np.float64), *ends))
    if mode in ("La", "RGBa"):  # premultiplied colours are already composited on black
        channels = tile.split()
        return channels[0] if mode == "La" else Image.merge("RGB", channels[:3])
    if mode == "LAB":
        from PIL import ImageCms  # here, as it takes milliseconds to load and few files need it

        to_srgb = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        converted = ImageCms.applyTransform(tile, to_srgb)
        return converted if converted is not None else tile
    return _over_black(tile.convert("LA" if mode in ("1", "L", "LA") else "RGBA"))


def _over_black(image: Image.Image) -> Image.Image:
    alpha = image.getchannel("A")
    opaque = image.convert("L" if image.mode == "LA" else "RGB")
    black = Image.new(opaque.mode, opaque.size)
    black.paste(opaque, mask=alpha)
    return black


def stretched(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint8]:
    """Returns values with `low`..`high` as 0..255, rounded; NaN becomes 0."""
    span = high - low
    if span == 0:
        return np.zeros(values.shape, np.uint8)
    scaled = (np.clip(np.nan_to_num(values, nan=low, posinf=high, neginf=low), low, high) - low) * (255 / span)
    return np.rint(scaled).astype(np.uint8)


def from_array(array: NDArray[Any]) -> Image.Image:
    """Converts a uint8 array, [height, width] or [height, width, 1, 3 or 4], to an image of mode `L`, `RGB` or `RGBA`.

    Raises:
        ImageError: If the array has another shape or dtype.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or 0 in array.shape:
        expected = "expected a uint8 array of shape [height, width] or [height, width, 1, 3 or 4]"
        raise ImageError(f"{expected}, found {array.dtype} {list(array.shape)}", "array")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 3 and array.shape[2] not in (3, 4):
        raise ImageError(f"expected 1, 3 or 4 channels last, found shape {list(array.shape)}", "array")
    return Image.fromarray(np.ascontiguousarray(array))
