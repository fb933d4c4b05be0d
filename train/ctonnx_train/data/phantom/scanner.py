"""Scanners: reconstruction kernel, noise, shading, and the window of an 8-bit image."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ctonnx_train.data.phantom.anatomy import Table
from ctonnx_train.data.phantom.canvas import HU_STEP, NOTHING, Canvas

__all__ = ["SCANNERS", "Hounsfield", "Kernel", "Scanner", "blurred", "stamp", "textured", "windowed"]


Hounsfield: TypeAlias = npt.NDArray[np.float32]
"""Hounsfield units of a slice."""


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel.

    Attributes:
        name: Name in the DICOM header.
        blur: Standard deviation of its blur, in pixels of an image of 512 pixels.
        noise: Noise, as a share of the patient's.
        grain: Correlation of the noise of neighbours, 0 or more.
        window: Centre and width of the window that its images are read in, in Hounsfield units.
    """

    name: str
    blur: float
    noise: float
    grain: float
    window: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """A made-up scanner.

    Attributes:
        manufacturer: Name of its manufacturer.
        model: Name of its model.
        lung: Kernel for the lungs.
        soft: Kernel for soft tissue.
        kvp: Tube voltages of its protocols, in kV.
        thicknesses: Slice thicknesses of its protocols, in mm.
        noise: Minimum and maximum of the noise that patients have on it, in Hounsfield units.
        table: Shape of its table.
        is_signed: Whether its stored values are signed, with padding outside the field of view.
        intercept: Rescale intercept of its stored values.
    """

    manufacturer: str
    model: str
    lung: Kernel
    soft: Kernel
    kvp: tuple[int, ...]
    thicknesses: tuple[float, ...]
    noise: tuple[float, float]
    table: Table
    is_signed: bool
    intercept: int


SCANNERS = (
    Scanner(
        manufacturer="Phantom Imaging",
        model="Phantom 16",
        lung=Kernel("LUNG", 0.7, 1.0, 0.25, (-500, 1600)),
        soft=Kernel("STANDARD", 1.5, 0.55, 0.8, (40, 400)),
        kvp=(120, 140),
        thicknesses=(2.5, 5.0),
        noise=(28, 40),
        table=Table(),
        is_signed=True,
        intercept=-1024,
    ),
    Scanner(
        manufacturer="Synthetic Medical",
        model="Synthetic 64",
        lung=Kernel("B70f", 0.85, 1.0, 0.55, (-460, 1500)),
        soft=Kernel("B31f", 1.7, 0.5, 1.0, (50, 350)),
        kvp=(100, 120),
        thicknesses=(1.0, 1.5, 3.0),
        noise=(21, 32),
        table=Table((34, 66), 190, 52),
        is_signed=False,
        intercept=-1024,
    ),
    Scanner(
        manufacturer="Example Systems",
        model="Example 320",
        lung=Kernel("FC52", 1.1, 1.0, 0.85, (-420, 1750)),
        soft=Kernel("FC13", 1.9, 0.5, 1.0, (30, 400)),
        kvp=(120,),
        thicknesses=(1.0, 2.0),
        noise=(17, 27),
        table=Table((46, 58), 150, 22),
        is_signed=True,
        intercept=0,
    ),
)
"""Scanners of phantoms with patients. The names of manufacturers and models are made up, those of kernels are usual."""


def blurred(ct: Canvas, size: int, blur: float) -> Hounsfield:
    """Returns a slice in Hounsfield units, [size, size], with a `blur` in pixels of an image of 512 pixels."""
    image = ct.image.resize((size, size), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(blur * size / 512))
    hu: Hounsfield = np.asarray(image, dtype=np.float32) * HU_STEP + NOTHING
    return hu


def textured(white: Hounsfield, grain: float) -> Hounsfield:
    """Returns noise that is correlated between neighbours, [n, n], from white noise, [n + 1, n + 1]."""
    noise: Hounsfield = white[1:, 1:] + grain * white[:-1, 1:] + grain * white[1:, :-1]
    return noise


def windowed(hu: Hounsfield, centre: float, width: float) -> Image.Image:
    """Returns Hounsfield units as an image of mode "L"."""
    return Image.fromarray(((hu - centre) * (255 / width) + 127.5).clip(0, 255).astype(np.uint8))


def stamp(image: Image.Image, level: int) -> None:
    """Writes "SYNTHETIC PHANTOM" into the lower left corner of an image, in a grey level."""
    size = image.width
    font = ImageFont.load_default(max(6, size / 36))
    ImageDraw.Draw(image).text((size / 64, size * 63 / 64), "SYNTHETIC PHANTOM", level, font, anchor="ls")
