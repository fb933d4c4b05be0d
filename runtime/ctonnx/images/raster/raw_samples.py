"""Decodes the TIFF and JPEG 2000 files that Pillow misreads, with tifffile and imagecodecs.

This module is imported for such a file only: both libraries come with the extra `[tiff]`.
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

# tifffile logs oddities of a file, and without a handler Python prints them on stderr.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def tiff_image(file: BinaryIO, header: TiffHeader) -> Image.Image:
    """Decodes the first page of a readable file to an image of mode `L` or `RGB`; its orientation is not applied.

    Raises:
        ValueError: If the file is damaged; the decoders raise their own exceptions, too.
    """
    file.seek(0)
    # Named, as tifffile finds no name for a file that was opened by its descriptor.
    with tifffile.TiffFile(file, name="scan.tif") as opened:
        page = opened.pages.first
        if (page.imagewidth, page.imagelength, page.samplesperpixel) != (header.width, header.height, header.samples):
            raise ValueError("its size is ambiguous")
        strips = int(np.prod(page.chunked))
        counts, offsets = page.databytecounts, page.dataoffsets
        # A missing strip would be black.
        if min(len(counts), len(offsets)) < strips or 0 in (*counts[:strips], *offsets[:strips]):
            raise ValueError("some of its strips or tiles are missing")
        stored: NDArray[Any] = page.asarray(maxworkers=1).reshape(page.shaped)
    if header.planar == 2:
        stored = np.moveaxis(stored[:, 0], 0, -1)
    return from_samples(
        stored.reshape(header.height, header.width, -1),
        bits=header.bits[0],
        photometric=header.photometric,
        colours=COLOURS[header.photometric],
        alpha=header.alpha,
        is_premultiplied=header.is_premultiplied,
        palette=header.palette,
    )


def jpeg2000_image(file: BinaryIO, header: Jpeg2000Header) -> Image.Image:
    """Decodes a readable file to mode `L` or `RGB`; the full range of its bits, signed or not, becomes 0..255.

    Raises:
        ValueError: If the file is damaged; the decoder raises its own exceptions, too.
    """
    file.seek(0)
    decoded: NDArray[Any] = imagecodecs.jpeg2k_decode(file.read())
    channels = len(header.bits)
    if decoded.shape[:2] != (header.height, header.width) or decoded.size != header.width * header.height * channels:
        raise ValueError("its size is not that of its header")
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
