"""Preprocessing of a decoded image to the model's input: window, crop, size, colour, resize rule and intensity."""

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from ctonnx.images.scan import Scan

__all__ = [
    "NEW_MODELS",
    "WHOLE",
    "Color",
    "Crop",
    "DicomWindow",
    "Intensity",
    "Preprocessing",
    "Region",
    "Resize",
    "place",
    "region",
    "to_pixels",
]


Color: TypeAlias = Literal["grey", "rgb"]
Crop: TypeAlias = Literal["none", "body"]
Resize: TypeAlias = Literal["stretch", "pad"]
Intensity: TypeAlias = Literal["as-is", "normalize"]
Region: TypeAlias = tuple[float, float, float, float]
"""Part of an image: left, top, right and bottom as shares of its width and height."""

_CUT = 0.005  # share of the pixels that become black, and of those that become white
_LEAST_RANGE = 8  # grey levels: fewer are noise, or a blank image

WHOLE: Region = (0.0, 0.0, 1.0, 1.0)
"""The whole image."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Format of a model's input: part of every checkpoint and of every exported model's spec.

    Attributes:
        size: Height and width of the model's input, in pixels.
        color: `grey` resizes one channel and repeats it three times; `rgb` keeps colour.
        crop: `none` takes the whole image; `body` its part with the body, see `ctonnx.images.body.body_box`.
        resize: `stretch` fills the square; `pad` keeps the aspect ratio and centres the image on black.
        intensity: `as-is` keeps the grey values; `normalize` spreads those of each image from black to white, so that
            its brightness and contrast do not matter.
    """

    size: int = 224
    color: Color = "grey"
    crop: Crop = "none"
    resize: Resize = "stretch"
    intensity: Intensity = "as-is"

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or not 32 <= self.size <= 4096:
            raise ValueError(f"size must be a whole number from 32 to 4096 pixels, found {self.size!r}")
        if self.color not in get_args(Color):
            raise ValueError(f"color must be one of {get_args(Color)}, found {self.color!r}")
        if self.crop not in get_args(Crop):
            raise ValueError(f"crop must be one of {get_args(Crop)}, found {self.crop!r}")
        if self.resize not in get_args(Resize):
            raise ValueError(f"resize must be one of {get_args(Resize)}, found {self.resize!r}")
        if self.intensity not in get_args(Intensity):
            raise ValueError(f"intensity must be one of {get_args(Intensity)}, found {self.intensity!r}")


NEW_MODELS = Preprocessing(intensity="normalize")
"""Preprocessing of a training without other options. The defaults of the class are those of models of schema 1."""


def to_pixels(image: "Scan | Image.Image", preprocessing: Preprocessing) -> "NDArray[np.uint8]":
    """Crops an image of mode `L` or `RGB` and resizes it to the model's square.

    The filter is Pillow's antialiased bilinear one.

    Returns:
        uint8 array of shape [size, size, 3] in RGB order; with `color="grey"` its three channels are equal.
    """
    import numpy as np  # here, so that a command's help reads the defaults of `Preprocessing` without NumPy and Pillow
    from PIL import Image

    image = image if isinstance(image, Image.Image) else image.image
    if image.mode == "RGB" and preprocessing.color == "grey":  # grey becomes colour below, after the resize
        image = image.convert("L")
    if preprocessing.crop == "body":
        image = image.crop(_body_box(image))
    left, top, width, height = place(image.size, preprocessing)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    if preprocessing.intensity == "normalize":
        resized = _normalized(resized)
    if preprocessing.resize == "pad":  # like `PIL.ImageOps.pad`, but keeps a line of less than half a pixel
        whole = Image.new(image.mode, (preprocessing.size, preprocessing.size))
        whole.paste(resized, (left, top))
        resized = whole
    pixels: NDArray[np.uint8] = np.asarray(resized)
    if pixels.ndim == 2:
        pixels, grey = np.empty((*pixels.shape, 3), np.uint8), pixels
        pixels[:] = grey[:, :, None]
    return pixels


def region(image: "Image.Image", preprocessing: Preprocessing) -> Region:
    """Returns the part of an image that the model is given."""
    if preprocessing.crop == "none":
        return WHOLE
    left, top, right, bottom = _body_box(image)
    return left / image.width, top / image.height, right / image.width, bottom / image.height


def _body_box(image: "Image.Image") -> tuple[int, int, int, int]:
    from ctonnx.images.body import body_box  # here, as it imports NumPy

    return body_box(image)


def _normalized(image: "Image.Image") -> "Image.Image":
    """Returns an image whose 0.5th percentile is black and whose 99.5th is white, in all channels alike."""
    counts = image.convert("L").histogram()
    cut = _CUT * image.width * image.height
    low = next(level for level, total in enumerate(accumulate(counts)) if total > cut)
    high = 255 - next(level for level, total in enumerate(accumulate(reversed(counts))) if total > cut)
    if high - low < _LEAST_RANGE:
        return image
    table = [min(255, max(0, round((level - low) * 255 / (high - low)))) for level in range(256)]
    return image.point(table * len(image.getbands()))


def place(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int, int, int]:
    """Returns the position of an image of this width and height in the model's square: left, top, width and height.

    The image is the part that is left after the crop.

    >>> place((200, 100), Preprocessing(size=64, resize="pad")), place((200, 100), Preprocessing(size=64))
    ((0, 16, 64, 32), (0, 0, 64, 64))
    """
    square = preprocessing.size
    if preprocessing.resize == "stretch":
        return 0, 0, square, square
    width, height = (max(1, round(side / max(size) * square)) for side in size)
    return round((square - width) * 0.5), round((square - height) * 0.5), width, height


@dataclass(frozen=True, kw_only=True)
class DicomWindow:
    """The range of Hounsfield units that becomes black to white when the model is given DICOM files.

    Attributes:
        center: Middle of the range, in HU.
        width: Extent of the range, in HU.
    """

    center: float = -600.0
    width: float = 1500.0
