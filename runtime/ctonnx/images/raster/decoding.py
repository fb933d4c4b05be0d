"""Decodes an open file to an 8-bit image, by Pillow if it reads the file correctly, otherwise by the extra `[tiff]`.

TIFF and JPEG 2000 files that Pillow misreads (`ctonnx.images.raster.tiff`, `ctonnx.images.raster.jpeg2000`) are read by
tifffile and imagecodecs, or rejected with a description. Metadata that stop Pillow are removed
(`ctonnx.images.raster.salvage`). The error for a file that is not an image names its kind
(`ctonnx.images.raster.unsupported`).
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from ctonnx.errors import ImageError
from ctonnx.images.modes import bytes_per_pixel, to_8_bit
from ctonnx.images.raster import jpeg2000, tiff, tiff_directory, unsupported
from ctonnx.images.raster.salvage import without_metadata
from ctonnx.images.scan import Scan
from ctonnx.system.memory import reserve_memory

__all__ = ["FORMATS", "IMPORTING", "as_image_error", "begins_as_image", "decode", "normalized", "reject_large"]

# The common formats come first: Pillow registers them without importing all of its plugins.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000", "AVIF", "TGA", "PCX", "DIB", "ICO")
"""Pillow's names of the supported formats."""

IMPORTING = threading.Lock()
"""Lock for imports in the middle of a run.

While an import fails, Python returns the incomplete module to other threads that import it.
"""

# Formats whose first bytes are not a signature, or one that other files have, too.
_WITHOUT_SIGNATURE = frozenset({"TGA", "PCX", "ICO", "DIB"})

# Pillow multiplies the grey of a PNG image with 2 and 4 bits by these factors, but not its transparent grey.
_PNG_STEPS = {"L;2": 85, "L;4": 17}

# Transposition of each EXIF orientation (https://www.cipa.jp/std/documents/e/DC-008-2012_E.pdf, table 4).
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_NO_FORMAT = "not an image in a format that can be read"
_PAGES_CAUTION = "only the first of several pages was read"


def decode(file: BinaryIO, name: str, most_pixels: int | None = None) -> Scan:
    """Decodes a file, open at its beginning, to an image of mode `L` or `RGB`, upright.

    Raises:
        ImageError: If the file is damaged, too large or not supported.
    """
    head = file.read(12)
    file.seek(0)
    header: tiff.TiffHeader | jpeg2000.Jpeg2000Header | None = None
    with as_image_error(name):
        if head.startswith(tiff_directory.MARKS):
            header = tiff.read_header(file, name)
        elif head.startswith(jpeg2000.MARKS):
            header = jpeg2000.read_header(file)
    if header and not header.suits_pillow:
        return _by_extra(file, name, most_pixels, header)
    file.seek(0)
    try:
        return _by_pillow(file, name, most_pixels)
    except ImageError as error:
        if kind := unsupported.describe_file(file):
            raise ImageError(f"{_NO_FORMAT}, but {kind}", name) from error
        if (picture := without_metadata(file)) is None:
            raise
    return _by_pillow(picture, name, most_pixels)


def begins_as_image(file: BinaryIO, name: str) -> bool:
    """Returns whether a file, open at its beginning, begins like an image; nothing is decoded."""
    Image.preinit()
    try:
        if file.read(4) in tiff_directory.MARKS:
            with as_image_error(name):
                tiff.read_header(file, name)
            return True
        file.seek(0)
        with as_image_error(name), Image.open(file, formats=FORMATS) as image:
            return not (image.format in _WITHOUT_SIGNATURE and unsupported.describe_file(file))
    except ImageError:
        picture = without_metadata(file)
        return picture is not None and begins_as_image(picture, name)


def _by_pillow(file: BinaryIO, name: str, most_pixels: int | None) -> Scan:
    Image.preinit()
    with as_image_error(name, most_pixels), Image.open(file, formats=FORMATS) as image:
        reject_large(image.size, most_pixels, name)
        if image.format in _WITHOUT_SIGNATURE and (kind := unsupported.describe_file(file)):
            raise ImageError(f"{_NO_FORMAT}, but {kind}", name)
        has_more = getattr(image, "is_animated", False)  # pages of a TIFF too
        return Scan(normalized(_fix_transparency(image, file, name), name), _PAGES_CAUTION if has_more else None)


def _fix_transparency(image: Image.Image, file: BinaryIO, name: str) -> Image.Image:
    """Corrects the transparency of an opened image where Pillow misreads it."""
    if image.format == "PNG" and "transparency" in image.info:
        stored = image.tile[0].args if isinstance(image, ImageFile.ImageFile) and image.tile else None
        if stored in _PNG_STEPS:
            image.info["transparency"] *= _PNG_STEPS[stored]
        elif stored == "RGB;16B":  # Pillow keeps 8 bits, and compares them with 16
            kind = "a PNG image of 16-bit colours, one of them transparent"
            raise ImageError(f"{kind}, which is not supported; save it with an alpha channel, or with 8 bits", name)
    if image.format == "TGA" and image.mode == "RGBA":
        file.seek(16)
        bits, descriptor = file.read(2)
        if bits == 16 or not descriptor & 15:  # no alpha, or one bit that writers set arbitrarily
            with reserve_memory(image.size, bytes_per_pixel(image.mode), name):
                return image.convert("RGB")
    return image


def _by_extra(
    file: BinaryIO, name: str, most_pixels: int | None, header: tiff.TiffHeader | jpeg2000.Jpeg2000Header
) -> Scan:
    """Decodes a file that Pillow misreads, with the extra `[tiff]`."""
    size = header.width, header.height
    if 0 in size:
        raise ImageError(f"the image has no pixels: {size[0]} x {size[1]}", name)
    if not header.is_readable:
        raise ImageError(f"{header}, which is not supported; convert it to PNG, or to TIFF of 8 or 16 bits", name)
    reject_large(size, most_pixels, name)
    pixels = header.width * header.height
    limit = 2 * Image.MAX_IMAGE_PIXELS if Image.MAX_IMAGE_PIXELS else pixels
    if pixels > limit:
        allowed = min(limit, most_pixels or limit)
        raise ImageError(f"too large to decode safely: {pixels} pixels, and an image may have {allowed}", name)
    try:
        with IMPORTING:
            from ctonnx.images.raster.raw_samples import jpeg2000_image, tiff_image
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("imagecodecs", "tifffile"):
            raise
        raise ImageError(f'{header}, which needs {missing}; pip install "ctonnx[tiff]"', name) from error
    with as_image_error(name, most_pixels), reserve_memory(size, header.bytes_per_pixel, name):
        if isinstance(header, jpeg2000.Jpeg2000Header):
            return Scan(jpeg2000_image(file, header))
        found = tiff_image(file, header)
    return Scan(_transposed(found, header.orientation), _PAGES_CAUTION if header.has_more else None)


@contextmanager
def as_image_error(name: str, most_pixels: int | None = None) -> Iterator[None]:
    """Converts any exception of a decoder to an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(_NO_FORMAT, name) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"too large to decode safely: {_size_and_limit(error, most_pixels)}", name) from error
    except MemoryError as error:
        raise ImageError("too large for the memory of this machine; make it smaller", name) from error
    # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error and more for damaged bytes:
    # here each of them means the same, and none may end the run over a folder.
    except Exception as error:
        raise ImageError(f"damaged image: {str(error) or type(error).__name__}", name) from error


def _size_and_limit(bomb: Exception, most_pixels: int | None) -> str:
    """Returns the number of pixels and its limit, which only the text of Pillow's exception contains."""
    found = [int(number) for number in re.findall(r"\d+", str(bomb))]
    if len(found) != 2:
        return "it has too many pixels"
    return f"{found[0]} pixels, and an image may have {min(found[1], most_pixels or found[1])}"


def reject_large(size: tuple[int, int], most_pixels: int | None, name: str) -> None:
    """Raises an ImageError for an image with more than `most_pixels` pixels."""
    if most_pixels is not None and size[0] * size[1] > most_pixels:
        raise ImageError(f"too large: {size[0]} x {size[1]} pixels, and at most {most_pixels} are read", name)


def normalized(image: Image.Image, name: str) -> Image.Image:
    """Returns a Pillow image, upright and with 8 bits."""
    if 0 in image.size:
        raise ImageError(f"the image has no pixels: {image.size[0]} x {image.size[1]}", name)
    with reserve_memory(image.size, bytes_per_pixel(image.mode, image.format), name):
        image.load()
        return to_8_bit(_upright(image), is_16_bit=image.format == "PPM" and image.mode == "I")


def _upright(image: Image.Image) -> Image.Image:
    orientation = 1
    # Pillow raises the same errors for a damaged EXIF block as for damaged pixels. The pixels are undamaged here.
    with suppress(Exception):
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return _transposed(image, orientation)


def _transposed(image: Image.Image, orientation: int) -> Image.Image:
    transposition = _TRANSPOSITIONS.get(orientation)
    return image if transposition is None else image.transpose(transposition)
