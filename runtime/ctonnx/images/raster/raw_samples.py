"""The samples of TIFF and JPEG 2000 files that Pillow does not read as they are meant, by tifffile and imagecodecs.

It is imported where such a file is met: both libraries come with the extra `[tiff]`.
"""

import logging
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from ctonnx.images.raster.depth import from_samples
from ctonnx.images.raster.jpeg2000 import Jpeg2000Header
from ctonnx.images.raster.tiff import COLOURS, TiffHeader

__all__ = ["jpeg2000_image", "tiff_image"]

# What tifffile finds odd in a file it logs, and Python shows on stderr what no program asked for.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def tiff_image(file: BinaryIO, header: TiffHeader) -> Image.Image:
    """Returns the first page as an image of mode `L` or `RGB`, without its orientation.

    Args:
        file: at any place; it stays the caller's to close.
        header: of this file, whose `is_readable` is true.

    Raises:
        ValueError: it is damaged; the decoders raise exceptions of their own too.
    """
    file.seek(0)
    # Named, as a file that was opened by its number has no name for it.
    with tifffile.TiffFile(file, name="scan.tif") as opened:
        page = opened.pages.first
        if (page.imagewidth, page.imagelength, page.samplesperpixel) != (header.width, header.height, header.samples):
            raise ValueError("its size cannot be told")
        strips = int(np.prod(page.chunked))
        counts, offsets = page.databytecounts, page.dataoffsets
        # A strip that is missing would be black.
        if min(len(counts), len(offsets)) < strips or 0 in (*counts[:strips], *offsets[:strips]):
            raise ValueError("strips or tiles of it are missing")
        stored: NDArray[Any] = page.asarray(maxworkers=1).reshape(page.shaped)
    samples = (
        np.moveaxis(stored[:, 0], 0, -1).reshape(header.height, header.width, -1)
        if header.planar == 2
        else (stored.reshape(header.height, header.width, -1))
    )
    alpha = header.alpha
    return from_samples(
        samples,
        bits=header.bits[0],
        photometric=header.photometric,
        colours=COLOURS[header.photometric],
        alpha=alpha,
        is_multiplied=header.is_multiplied,
        palette=header.palette,
    )


def jpeg2000_image(file: BinaryIO, header: Jpeg2000Header) -> Image.Image:
    """Returns the picture as an image of mode `L` or `RGB`; the range of its bits becomes 0..255, also of signed ones.

    Args:
        file: at any place; it stays the caller's to close.
        header: of this file, whose `is_readable` is true.

    Raises:
        ValueError: it is damaged; the decoder raises exceptions of its own too.
    """
    file.seek(0)
    decoded: NDArray[Any] = imagecodecs.jpeg2k_decode(file.read())
    channels = len(header.bits)
    if decoded.shape[:2] != (header.height, header.width) or decoded.size != header.width * header.height * channels:
        raise ValueError("its size is not what its header says")
    samples = decoded.reshape(header.height, header.width, channels)
    bits = header.bits[0]
    if header.signed[0]:
        samples = samples.astype(np.int64) + 2 ** (bits - 1)
    return from_samples(
        samples.astype(np.uint64 if bits > 16 else np.uint16),
        bits=bits,
        photometric=1 if channels < 3 else 2,
        colours=1 if channels < 3 else 3,
        alpha=channels - 1 if channels in (2, 4) else None,
        is_full_range=True,
    )
