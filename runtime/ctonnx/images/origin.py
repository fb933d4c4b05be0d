"""What an image was on the disk, from the same opened file that its pixels are decoded from."""

from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from ctonnx.images.formats import readable_formats
from ctonnx.images.loading import decode_frame, load, open_dicom
from ctonnx.images.raster.decoding import decode
from ctonnx.images.source import ImageSource, open_source

__all__ = ["Origin", "load_with_origin"]


class Origin(NamedTuple):
    """What an image was before it became grey or RGB in 8 bits.

    Attributes:
        format: Pillow's name of the format, `DICOM`, or `array`; `other` where Pillow does not know it.
        mode: Pillow's mode of the file; of DICOM and other formats, that of the decoded image.
    """

    format: str
    mode: str


def load_with_origin(source: ImageSource) -> tuple[Image.Image, Origin]:
    """Decodes an image as `ctonnx.images.load` does, and returns what it was; a file is opened once.

    Args:
        source: As for `ctonnx.images.load`.

    Raises:
        ImageError: As `ctonnx.images.load`.
    """
    if isinstance(source, np.ndarray):
        image = load(source)
        return image, Origin("array", image.mode)
    if isinstance(source, Image.Image):
        return load(source), Origin(source.format or "other", source.mode)
    with open_source(source) as (file, size, name):
        scans = open_dicom(file, size, name, None)
        image = decode(file, name) if scans is None else decode_frame(scans, 0, name)
        known = Origin("DICOM", image.mode) if scans is not None else _known_to_pillow(file)
        return image, known or Origin("other", image.mode)


def _known_to_pillow(file: BinaryIO) -> Origin | None:
    """Returns what Pillow makes of the file's head, or None where another library decoded it."""
    file.seek(0)
    try:
        with Image.open(file, formats=[name for name in readable_formats() if name != "DICOM"]) as image:
            return Origin(image.format or "other", image.mode)
    except Exception:  # of what it cannot read, Pillow raises OSError, SyntaxError, ValueError and more
        return None
