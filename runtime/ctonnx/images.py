"""The one way from an image file to the pixels that a model is given.

Training's evaluation, the parity gate, prediction and every later part call this module, so that no second
pre-processing can drift from it. `load` turns a source into an 8-bit grey or RGB image by the rules of `ctonnx.modes`,
and `to_pixels` resizes it to the model's square.

The EXIF orientation is applied, where it can be read. Of a multi-frame file the first frame is taken. Formats whose
decoding starts another program (EPS) or that hold no pictures are not opened. DICOM has rules of its own
(`ctonnx.dicom`). An image that would take more than a quarter of the memory is not decoded (`ctonnx.memory`).
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from ctonnx.decoding import (
    FORMATS,
    IMPORTING,
    begins_as_image,
    damage_is_an_image_error,
    decode,
    normalized,
    refuse_large,
)
from ctonnx.dicom_signature import HEAD, begins_as_dicom
from ctonnx.errors import ImageError
from ctonnx.foreign import TEXT, what_it_is
from ctonnx.memory import room_for
from ctonnx.modes import from_array
from ctonnx.reading import NotRegular, opened, reason_of

if TYPE_CHECKING:
    from ctonnx.dicom import DicomFile
    from ctonnx.spec import DicomWindow

__all__ = [
    "SUFFIXES",
    "Color",
    "ImageSource",
    "Preprocessing",
    "Resize",
    "foreign_kind",
    "is_image",
    "load",
    "load_frames",
    "looks_like_image",
    "may_have_frames",
    "place",
    "readable_formats",
    "to_pixels",
]

Color: TypeAlias = Literal["grey", "rgb"]
Resize: TypeAlias = Literal["stretch", "pad"]
ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]"

_DICOM = (".dcm", ".dicom", ".ima")
SUFFIXES = frozenset(
    f".{ending}"
    for endings in (
        "dcm dicom ima",
        "png apng jpg jpeg jpe jfif mpo bmp dib gif tif tiff webp avif avifs",
        "pbm pgm ppm pnm pfm jp2 j2k jpc jpf jpx j2c tga icb vda vst pcx ico",
    )
    for ending in endings.split()
)
"""Lower-case file name endings of the formats that `load` opens."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What a model's input looks like: part of every checkpoint and of every exported model's spec.

    Attributes:
        size: height and width of the model's input, in pixels.
        color: `grey` resizes one channel and repeats it three times; `rgb` keeps colour.
        resize: `stretch` fills the square; `pad` keeps the aspect ratio and centres the image on black.
    """

    size: int = 224
    color: Color = "grey"
    resize: Resize = "stretch"

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or not 32 <= self.size <= 4096:
            raise ValueError(f"size must be a whole number from 32 to 4096 pixels, found {self.size!r}")
        if self.color not in get_args(Color):
            raise ValueError(f"color must be one of {get_args(Color)}, found {self.color!r}")
        if self.resize not in get_args(Resize):
            raise ValueError(f"resize must be one of {get_args(Resize)}, found {self.resize!r}")


def looks_like_image(path: str | os.PathLike[str]) -> bool:
    """Says whether `path`'s name has an image's ending; the file is not opened.

    >>> looks_like_image("scan.PNG"), looks_like_image("notes.txt")
    (True, False)
    """
    return os.path.splitext(path)[1].lower() in SUFFIXES


def may_have_frames(path: str | os.PathLike[str]) -> bool:
    """Says whether `path` may be a DICOM file, by its name: those often have none, or an ending of their own.

    >>> may_have_frames("scan.png"), may_have_frames("scan.dcm"), may_have_frames("IM0001")
    (False, True, True)
    """
    return os.path.splitext(path)[1].lower() in _DICOM or not looks_like_image(path)


def is_image(path: str | os.PathLike[str]) -> bool:
    """Says whether a file begins as an image or a DICOM file does; nothing is decoded."""
    try:
        with _opened(path) as (file, _, name):
            return _is_dicom(file, name) or begins_as_image(file, name)
    except ImageError:
        return False


def foreign_kind(path: str | os.PathLike[str]) -> str | None:
    """Returns what a file is that is no picture, with what to do; None where it is not known, or any text."""
    try:
        with _opened(path) as (file, _, _name):
            kind = what_it_is(file)
            return None if kind == TEXT else kind
    except ImageError:
        return None


def readable_formats() -> list[str]:
    """Returns the names of the formats that `load` opens here: some need a library of Pillow's, DICOM needs pydicom."""
    needed = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}
    formats = [name for name in FORMATS if name not in needed or features.check(needed[name])]
    return formats + ["DICOM"] * (find_spec("pydicom") is not None)


def load(source: ImageSource, *, window: "DicomWindow | None" = None, frame: int = 0) -> Image.Image:
    """Decodes `source` to an image of mode `L` (grey sources) or `RGB` (colour sources).

    Args:
        source: a path; an encoded file's bytes; a Pillow image; or a uint8 array of shape [height, width],
            [height, width, 1], [height, width, 3] (RGB) or [height, width, 4] (RGBA).
        window: that DICOM CT is seen through; None takes the lung's.
        frame: which one of a DICOM file with several, counted from 0; of other files the first is taken.

    Raises:
        ImageError: the source is missing, empty, damaged, too large, not a regular file or not an image.
    """
    if isinstance(source, np.ndarray):
        with damage_is_an_image_error("array"):
            return normalized(from_array(source), "array")
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", "") or "image in memory"
        with damage_is_an_image_error(name):
            return normalized(source, name)
    with _opened(source) as (file, size, name):
        if (scans := _dicom(file, size, name, window)) is not None:
            return _scan(scans, frame, name)
        return decode(file, name)


def load_frames(
    source: ImageSource,
    *,
    window: "DicomWindow | None" = None,
    most_pixels: int | None = None,
    most_frames: int | None = None,
) -> "Iterator[tuple[int | None, Image.Image | ImageError]]":
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
    if isinstance(source, np.ndarray | Image.Image):
        yield None, load(source)
        return
    with _opened(source) as (file, size, name):
        scans = _dicom(file, size, name, window)
        if scans is None:
            yield None, decode(file, name, most_pixels)
            return
        refuse_large(scans.size, most_pixels, name)
        if most_frames is not None and scans.frames > most_frames:
            raise ImageError(f"a DICOM file with {scans.frames} frames, and at most {most_frames} may be in one", name)
        for frame in range(scans.frames):
            try:
                found: Image.Image | ImageError = _scan(scans, frame, name)
            except ImageError as error:
                if scans.frames == 1:
                    raise
                found = error
            yield (frame if scans.frames > 1 else None), found


def to_pixels(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resizes an image from `load` to the model's square with Pillow's antialiased bilinear filter.

    Args:
        image: mode `L` or `RGB`.
        preprocessing: the size, colour and resize rule of the model.

    Returns:
        uint8 array of shape [size, size, 3] in RGB order; with `color="grey"` its three channels are equal.
    """
    square = (preprocessing.size, preprocessing.size)
    if image.mode == "RGB" and preprocessing.color == "grey":  # grey becomes colour below, when it is small
        image = image.convert("L")
    if preprocessing.resize == "pad":
        image = _padded(image, preprocessing)
    else:
        image = image.resize(square, Image.Resampling.BILINEAR)
    pixels: NDArray[np.uint8] = np.asarray(image)
    if pixels.ndim == 2:
        pixels, grey = np.empty((*pixels.shape, 3), np.uint8), pixels
        pixels[:] = grey[:, :, None]
    return pixels


def place(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int, int, int]:
    """Returns where an image of a width and height stands in the model's square: left, top, width and height.

    >>> place((200, 100), Preprocessing(size=64, resize="pad")), place((200, 100), Preprocessing(size=64))
    ((0, 16, 64, 32), (0, 0, 64, 64))
    """
    square = preprocessing.size
    if preprocessing.resize == "stretch":
        return 0, 0, square, square
    width, height = (max(1, round(side / max(size) * square)) for side in size)
    return round((square - width) * 0.5), round((square - height) * 0.5), width, height


def _padded(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Returns what `PIL.ImageOps.pad` does, where that does not lose a line of less than half a pixel."""
    left, top, width, height = place(image.size, preprocessing)
    whole = Image.new(image.mode, (preprocessing.size, preprocessing.size))
    whole.paste(image.resize((width, height), Image.Resampling.BILINEAR), (left, top))
    return whole


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes) -> Iterator[tuple[BinaryIO, int, str]]:
    """Opens a regular file, or a file's bytes: yields it with its size and its name."""
    if isinstance(source, bytes):
        name, size, file = "bytes in memory", len(source), io.BytesIO(source)
        _refuse_empty(size, name)
        yield file, size, name
        return
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"expected a path, a file's bytes, a Pillow image or a uint8 array, found {type(source).__name__}"
        )
    name = os.fsdecode(source)
    try:
        with opened(name) as found:
            status = os.fstat(found.fileno())
            _refuse_empty(status.st_size, name)
            yield found, status.st_size, name
    except IsADirectoryError as error:
        raise ImageError("a folder, not an image file", name) from error
    except NotRegular as error:
        raise ImageError(reason_of(error), name) from error
    except OSError as error:
        raise ImageError(f"cannot be read: {reason_of(error)}", name) from error


def _refuse_empty(size: int, name: str) -> None:
    if size == 0:
        raise ImageError("the file is empty (0 bytes)", name)


def _is_dicom(file: BinaryIO, name: str) -> bool:
    head = file.read(HEAD)
    file.seek(0)
    return begins_as_dicom(head, is_named_so=name.lower().endswith(_DICOM))


def _dicom(file: BinaryIO, size: int, name: str, window: "DicomWindow | None") -> "DicomFile | None":
    """Returns the file as DICOM, or None where it is none."""
    if not _is_dicom(file, name):
        return None
    try:
        with IMPORTING:
            from ctonnx.dicom import DicomFile
            from ctonnx.spec import DicomWindow
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "pydicom":
            raise
        version = getattr(sys.modules.get("pydicom"), "__version__", "")
        needed = f"pydicom 3 or newer, found {version}" if version else "pydicom"
        raise ImageError(f'a DICOM file, which needs {needed}; pip install "ctonnx[dicom]"', name) from error
    with damage_is_an_image_error(name):
        return DicomFile(file, size, name, window or DicomWindow())


def _scan(scans: "DicomFile", frame: int, name: str) -> Image.Image:
    with damage_is_an_image_error(name), room_for(scans.size, scans.bytes_a_pixel, name):
        return scans.image(frame)
