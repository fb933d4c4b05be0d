"""The only way from an image file to a model's input pixels.

Training, the parity gate, prediction and serving all call this module, so that they cannot disagree. `load` converts a
source to an 8-bit grey or RGB image by the rules of `ctonnx.images.modes`, and `ctonnx.images.to_pixels` resizes it to
the model's square.

A readable EXIF orientation is applied. `load` returns the first frame of a file with several. Formats whose decoding
starts another program (EPS) and formats without images are not opened. DICOM has its own rules
(`ctonnx.images.dicom.rendering.greyscale`). An image that would take more than a quarter of the memory is not decoded
(`ctonnx.system.memory`).
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from ctonnx.errors import ImageError
from ctonnx.images.formats import is_dicom, readable_formats
from ctonnx.images.modes import from_array
from ctonnx.images.preprocessing import DicomWindow
from ctonnx.images.raster.decoding import IMPORTING, as_image_error, decode, normalized, reject_large
from ctonnx.images.scan import Scan
from ctonnx.images.source import ImageSource, open_source
from ctonnx.system.memory import reserve_memory

if TYPE_CHECKING:
    from ctonnx.images.dicom.file import DicomFile

__all__ = ["Origin", "load", "load_frames", "load_with_origin"]


class Origin(NamedTuple):
    """Format and mode of an image before it was converted to 8-bit grey or RGB, and how it was acquired.

    Attributes:
        format: Pillow's name of the format, `DICOM`, `array`, or `other` for a format unknown to Pillow.
        mode: Pillow's mode of the file; the mode of the decoded image for DICOM and other formats.
        bytes: Size of the file; None for an array or an image in memory.
        quantization: Table of a JPEG file's brightness, 64 divisors; None for other formats.
        acquisition: Elements of a DICOM header; see `ctonnx.images.dicom.header.acquisition_of`.
    """

    format: str
    mode: str
    bytes: int | None = None
    quantization: tuple[int, ...] | None = None
    acquisition: Mapping[str, str | float] = MappingProxyType({})


def load(source: ImageSource, *, window: DicomWindow | None = None, frame: int = 0) -> Scan:
    """Decodes `source` to an image of mode `L` (grey sources) or `RGB` (colour sources).

    Args:
        source: A path; an encoded file's bytes; a Pillow image; a `Scan`; or a uint8 array of shape [height,
            width], [height, width, 1], [height, width, 3] (RGB) or [height, width, 4] (RGBA).
        window: Window for DICOM CT; None uses the lung window.
        frame: Number of the frame in a DICOM file, counted from 0; ignored for other files.

    Raises:
        ImageError: If the source is missing, empty, damaged, too large, not a regular file or not an image.
    """
    if isinstance(source, np.ndarray):
        with as_image_error("array"):
            return Scan(normalized(from_array(source), "array"))
    if isinstance(source, Scan):
        return source
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", "") or "image in memory"
        with as_image_error(name):
            return Scan(normalized(source, name))
    with open_source(source) as (file, size, name):
        if (dicom := _open_dicom(file, size, name, window)) is not None:
            return _decode_frame(dicom, frame, name)
        return decode(file, name)


def load_frames(
    source: ImageSource,
    *,
    window: DicomWindow | None = None,
    most_pixels: int | None = None,
    most_frames: int | None = None,
) -> Iterator[tuple[int | None, Scan | ImageError]]:
    """Decodes the frames of a DICOM file one by one, or the single image of any other source.

    A file may have images of `most_pixels` pixels, and `most_frames` frames if it is DICOM; None is unlimited.

    Yields:
        Number of the frame, counted from 0, or None for a single image; and the decoded image, or the frame's error.

    Raises:
        ImageError: See `load`; if the source as a whole is invalid.
    """
    if isinstance(source, np.ndarray | Image.Image | Scan):
        yield None, load(source)
        return
    with open_source(source) as (file, size, name):
        dicom = _open_dicom(file, size, name, window)
        if dicom is None:
            yield None, decode(file, name, most_pixels)
            return
        reject_large(dicom.size, most_pixels, name)
        if most_frames is not None and dicom.frames > most_frames:
            raise ImageError(f"a DICOM file with {dicom.frames} frames, expected at most {most_frames}", name)
        for frame in range(dicom.frames):
            try:
                found: Scan | ImageError = _decode_frame(dicom, frame, name)
            except ImageError as error:
                if dicom.frames == 1:
                    raise
                found = error
            yield (frame if dicom.frames > 1 else None), found


def load_with_origin(source: ImageSource) -> tuple[Scan, Origin]:
    """Decodes an image like `load`, and returns its origin, too; a file is opened once."""
    if isinstance(source, Image.Image):
        return load(source), Origin(source.format or "other", source.mode)
    if isinstance(source, np.ndarray | Scan):
        scan = load(source)
        return scan, Origin("other" if isinstance(source, Scan) else "array", scan.mode)
    with open_source(source) as (file, size, name):
        dicom = _open_dicom(file, size, name, None)
        if dicom is not None:
            scan = _decode_frame(dicom, 0, name)
            return scan, Origin("DICOM", scan.mode, size, acquisition=dicom.acquisition())
        scan = decode(file, name)
        return scan, (_known_to_pillow(file) or Origin("other", scan.mode))._replace(bytes=size)


def _open_dicom(file: BinaryIO, size: int, name: str, window: DicomWindow | None) -> "DicomFile | None":
    """Opens the file as DICOM, or returns None if it is another format."""
    if not is_dicom(file, name):
        return None
    try:
        with IMPORTING:
            from ctonnx.images.dicom.file import DicomFile
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "pydicom":
            raise
        version = getattr(sys.modules.get("pydicom"), "__version__", "")
        needed = f"pydicom 3 or newer, found {version}" if version else "pydicom"
        raise ImageError(f'a DICOM file, which needs {needed}; pip install "ctonnx[dicom]"', name) from error
    with as_image_error(name):
        return DicomFile(file, size, name, window or DicomWindow())


def _decode_frame(dicom: "DicomFile", frame: int, name: str) -> Scan:
    with as_image_error(name), reserve_memory(dicom.size, dicom.bytes_per_pixel, name):
        return dicom.scan(frame)


def _known_to_pillow(file: BinaryIO) -> Origin | None:
    """Returns the origin that Pillow reads from the file's header, or None if Pillow cannot read it."""
    file.seek(0)
    formats = [name for name in readable_formats() if name != "DICOM"]
    with suppress(Exception), Image.open(file, formats=formats) as image:  # OSError, SyntaxError, ValueError and more
        tables = getattr(image, "quantization", None) if image.format == "JPEG" else None
        return Origin(image.format or "other", image.mode, quantization=tuple(tables[0]) if tables else None)
    return None
