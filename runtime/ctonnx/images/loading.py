"""The one way from an image file to the pixels that a model is given.

Training's evaluation, the parity gate, prediction and every later part call this module, so that no second
pre-processing can drift from it. `load` turns a source into an 8-bit grey or RGB image by the rules of
`ctonnx.images.modes`, and `to_pixels` resizes it to the model's square.

The EXIF orientation is applied, where it can be read. Of a multi-frame file the first frame is taken. Formats whose
decoding starts another program (EPS) or that hold no pictures are not opened. DICOM has rules of its own
(`ctonnx.images.dicom.file`). An image that would take more than a quarter of the memory is not decoded
(`ctonnx.system.memory`).
"""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from ctonnx.errors import ImageError
from ctonnx.images.formats import is_dicom, readable_formats
from ctonnx.images.modes import from_array
from ctonnx.images.raster.decoding import IMPORTING, damage_is_an_image_error, decode, normalized, refuse_large
from ctonnx.images.scan import Scan
from ctonnx.images.source import ImageSource, open_source
from ctonnx.system.memory import reserve_memory

if TYPE_CHECKING:
    from ctonnx.images.dicom.file import DicomFile
    from ctonnx.images.preprocessing import DicomWindow

__all__ = ["Origin", "load", "load_frames", "load_with_origin"]


class Origin(NamedTuple):
    """Format and mode of an image before it became grey or RGB in 8 bits.

    Attributes:
        format: Pillow's name of the format, `DICOM`, or `array`; `other` where Pillow does not know it.
        mode: Pillow's mode of the file; of DICOM and other formats, that of the decoded image.
    """

    format: str
    mode: str


def load(source: ImageSource, *, window: "DicomWindow | None" = None, frame: int = 0) -> Scan:
    """Decodes `source` to an image of mode `L` (grey sources) or `RGB` (colour sources).

    Args:
        source: A path; an encoded file's bytes; a Pillow image; a `Scan`; or a uint8 array of shape [height,
            width], [height, width, 1], [height, width, 3] (RGB) or [height, width, 4] (RGBA).
        window: that DICOM CT is seen through; None takes the lung's.
        frame: which one of a DICOM file with several, counted from 0; of other files the first is taken.

    Raises:
        ImageError: The source is missing, empty, damaged, too large, not a regular file or not an image.
    """
    if isinstance(source, np.ndarray):
        with damage_is_an_image_error("array"):
            return Scan(normalized(from_array(source), "array"))
    if isinstance(source, Scan):
        return source
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", "") or "image in memory"
        with damage_is_an_image_error(name):
            return Scan(normalized(source, name))
    with open_source(source) as (file, size, name):
        if (scans := _open_dicom(file, size, name, window)) is not None:
            return _decode_frame(scans, frame, name)
        return decode(file, name)


def load_frames(
    source: ImageSource,
    *,
    window: "DicomWindow | None" = None,
    most_pixels: int | None = None,
    most_frames: int | None = None,
) -> Iterator[tuple[int | None, Scan | ImageError]]:
    """Decodes every frame of a DICOM file with several, one after the other, and of any other source its one image.

    Args:
        source: as for `load`.
        window: as for `load`.
        most_pixels: that an image in a file, or in a file's bytes, may have; None is as many as memory has room for.
        most_frames: that a DICOM file may have; None is any number.

    Yields:
        The frame's number, counted from 0, or None where there is but one image; and the image, or what is wrong with
        this frame.

    Raises:
        ImageError: as `load`, where the source as a whole is at fault.
    """
    if isinstance(source, np.ndarray | Image.Image | Scan):
        yield None, load(source)
        return
    with open_source(source) as (file, size, name):
        scans = _open_dicom(file, size, name, window)
        if scans is None:
            yield None, decode(file, name, most_pixels)
            return
        refuse_large(scans.size, most_pixels, name)
        if most_frames is not None and scans.frames > most_frames:
            raise ImageError(f"a DICOM file with {scans.frames} frames, and at most {most_frames} may be in one", name)
        for frame in range(scans.frames):
            try:
                found: Scan | ImageError = _decode_frame(scans, frame, name)
            except ImageError as error:
                if scans.frames == 1:
                    raise
                found = error
            yield (frame if scans.frames > 1 else None), found


def load_with_origin(source: ImageSource) -> tuple[Scan, Origin]:
    """Decodes an image as `load` does, and returns its origin too; a file is opened once.

    Args:
        source: As for `load`.

    Raises:
        ImageError: As `load`.
    """
    if isinstance(source, Image.Image):
        return load(source), Origin(source.format or "other", source.mode)
    if isinstance(source, np.ndarray | Scan):
        scan = load(source)
        return scan, Origin("other" if isinstance(source, Scan) else "array", scan.mode)
    with open_source(source) as (file, size, name):
        scans = _open_dicom(file, size, name, None)
        scan = decode(file, name) if scans is None else _decode_frame(scans, 0, name)
        known = Origin("DICOM", scan.mode) if scans is not None else _known_to_pillow(file)
        return scan, known or Origin("other", scan.mode)


def _open_dicom(file: BinaryIO, size: int, name: str, window: "DicomWindow | None") -> "DicomFile | None":
    """Returns the file as DICOM, or None where it is none."""
    if not is_dicom(file, name):
        return None
    try:
        with IMPORTING:
            from ctonnx.images.dicom.file import DicomFile
            from ctonnx.images.preprocessing import DicomWindow
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "pydicom":
            raise
        version = getattr(sys.modules.get("pydicom"), "__version__", "")
        needed = f"pydicom 3 or newer, found {version}" if version else "pydicom"
        raise ImageError(f'a DICOM file, which needs {needed}; pip install "ctonnx[dicom]"', name) from error
    with damage_is_an_image_error(name):
        return DicomFile(file, size, name, window or DicomWindow())


def _decode_frame(scans: "DicomFile", frame: int, name: str) -> Scan:
    with damage_is_an_image_error(name), reserve_memory(scans.size, scans.bytes_a_pixel, name):
        return scans.scan(frame)


def _known_to_pillow(file: BinaryIO) -> Origin | None:
    """Returns what Pillow makes of the file's head, or None where another library decoded it."""
    file.seek(0)
    try:
        with Image.open(file, formats=[name for name in readable_formats() if name != "DICOM"]) as image:
            return Origin(image.format or "other", image.mode)
    except Exception:  # of what it cannot read, Pillow raises OSError, SyntaxError, ValueError and more
        return None
