"""Facts of an image that are not anatomy: its size, file, grey values near the border, marks, and scanner.

A network that learns them instead of the anatomy is right on its own dataset and wrong elsewhere (DeGrave et al. 2021,
https://doi.org/10.1038/s42256-021-00338-7; Zech et al. 2018, https://doi.org/10.1371/journal.pmed.1002683).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctonnx.images.loading import Origin
from ctonnx.images.scan import Scan

__all__ = ["DESCRIPTIVE", "FACTS", "Fact", "Facts", "acquisition", "facts_of_input", "image_facts", "jpeg_quality"]

Facts: TypeAlias = Mapping[str, float | str]
"""Facts of one image by name; those that it does not have are missing."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Words for a fact.

    Attributes:
        kind: `size`, `file`, `border`, `grey`, `marks` or `scanner`; a class's two facts in words are of two kinds.
        title: Name of the fact.
        more: Description of images with a higher value; empty for a fact that is text.
        less: Description of images with a lower value.
        unit: Unit of the value; `%` for a share.
    """

    kind: str
    title: str
    more: str = ""
    less: str = ""
    unit: str = ""


FACTS: Mapping[str, Fact] = {
    "width": Fact(kind="size", title="width", more="wider", less="narrower", unit="pixels"),
    "height": Fact(kind="size", title="height", more="taller", less="shorter", unit="pixels"),
    "aspect": Fact(
        kind="size", title="width / height", more="wider for their height", less="narrower for their height"
    ),
    "format": Fact(kind="file", title="format"),
    "mode": Fact(kind="file", title="mode"),
    "bits": Fact(kind="file", title="bits", more="more bits per value", less="fewer bits per value", unit="bits"),
    "bytes_per_pixel": Fact(
        kind="file", title="bytes per pixel", more="larger files", less="smaller files", unit="bytes per pixel"
    ),
    "jpeg_quality": Fact(kind="file", title="JPEG quality", more="better JPEG", less="poorer JPEG", unit="quality"),
    "border_mean": Fact(
        kind="border", title="border", more="brighter border", less="darker border", unit="grey levels"
    ),
    "border_spread": Fact(
        kind="border", title="border's spread", more="uneven border", less="even border", unit="grey levels"
    ),
    "outer_mean": Fact(
        kind="grey", title="outer mean", more="brighter outside", less="darker outside", unit="grey levels"
    ),
    "outer_spread": Fact(
        kind="grey",
        title="outer spread",
        more="more contrast outside",
        less="less contrast outside",
        unit="grey levels",
    ),
    "outer_black": Fact(
        kind="grey", title="outer black", more="more black outside", less="less black outside", unit="%"
    ),
    "outer_white": Fact(
        kind="grey", title="outer white", more="more white outside", less="less white outside", unit="%"
    ),
    "outer_saturated": Fact(
        kind="grey", title="outer saturated", more="more saturated outside", less="less saturated outside", unit="%"
    ),
    "colored": Fact(
        kind="marks", title="coloured", more="more coloured pixels", less="fewer coloured pixels", unit="%"
    ),
    "strokes": Fact(
        kind="marks", title="strokes", more="more letters or lines outside", less="fewer letters or lines", unit="%"
    ),
    "manufacturer": Fact(kind="scanner", title="manufacturer"),
    "model": Fact(kind="scanner", title="scanner"),
    "kernel": Fact(kind="scanner", title="kernel"),
    "institution": Fact(kind="scanner", title="institution"),
    "slice_thickness": Fact(
        kind="scanner", title="slice thickness", more="thicker slices", less="thinner slices", unit="mm"
    ),
    "kvp": Fact(kind="scanner", title="tube voltage", more="higher voltage", less="lower voltage", unit="kV"),
    "pixel_spacing": Fact(
        kind="scanner", title="pixel spacing", more="larger pixels", less="smaller pixels", unit="mm"
    ),
}
"""Facts that could be a shortcut.

Grey values count outside the middle only, where the chest wall, the table and the air are: a tumour in the lung, or a
lung without air, changes the grey values of the whole image, and that is anatomy.
"""

DESCRIPTIVE = ("mean", "spread", "black", "white")
"""Facts of the whole image, which anatomy changes, too: they describe a dataset, and do not count as a shortcut."""

_OUTER = 1 / 6  # of the width and the height, on each side
_BORDER = 1 / 100
_CELLS = 8  # along each side; the strokes of letters are counted in those at the border
_STROKE, _STROKE_WIDTH = 60, 1 / 64  # grey levels above both sides; of the longer side
_COLORED = 32  # difference of an RGB pixel's channels; compression changes grey pixels by less
_MOST_SIDE = 1024  # pixels of the longer side; larger images are measured with every second pixel, or fewer
_BLACK, _WHITE, _SATURATED = 4, 251, 255
_STANDARD_SUM = 3688  # of the JPEG standard's table for brightness (ITU T.81, table K.1), which is quality 50
_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 32, "F": 32}  # of other modes 8


def image_facts(scan: Scan, origin: Origin) -> dict[str, float | str]:
    """Returns the facts of a decoded image and its file."""
    width, height = scan.size
    facts: dict[str, float | str] = {
        "width": float(width),
        "height": float(height),
        "aspect": width / height,
        "format": origin.format,
        "mode": origin.mode,
        "bits": float(_BITS.get(origin.mode, 8)),
    }
    if origin.bytes is not None:
        facts["bytes_per_pixel"] = origin.bytes / (width * height)
    if origin.quantization is not None:
        facts["jpeg_quality"] = jpeg_quality(origin.quantization)
    return {**facts, **_grey_facts(scan.image), **origin.acquisition}


def facts_of_input(pixels: NDArray[np.uint8]) -> dict[str, float | str]:
    """Returns the facts that are left in the network's input, uint8 [size, size, 3]: none of the size and the file."""
    return dict(_grey_facts(Image.fromarray(pixels)))


def jpeg_quality(table: Sequence[int]) -> float:
    """Returns the quality of 1 to 100 at which libjpeg uses a table with this sum.

    >>> jpeg_quality([10] * 64), jpeg_quality([100] * 64)
    (91.0, 29.0)
    """
    percent = 100 * sum(table) / _STANDARD_SUM
    quality = (200 - percent) / 2 if percent <= 100 else 5000 / percent
    return float(min(100, max(1, round(quality))))


def acquisition(facts: Sequence[Facts], labels: Sequence[int], classes: Sequence[str]) -> dict[str, Any]:
    """Returns the medians of the images' facts, over all and for each class, and the middle 90 % of all images.

    A fact that is text, such as the format, has the most frequent one.
    """
    of_class = {
        name: _medians([found for found, label in zip(facts, labels, strict=True) if label == number])
        for number, name in enumerate(classes)
    }
    middle = {
        name: [round(float(end), 4) for end in np.percentile(_numbers(facts, name), (5, 95))]
        for name in _names(facts)
        if _numbers(facts, name)
    }
    return {"images": len(facts), "medians": _medians(facts), "middle_90": middle, "by_class": of_class}


def _medians(facts: Sequence[Facts]) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for name in _names(facts):
        if name == "institution":  # a hash of a name can be guessed: it stays out of files that are passed on
            continue
        if numbers := _numbers(facts, name):
            found[name] = round(float(np.median(numbers)), 4)
        else:
            texts = [str(of[name]) for of in facts if name in of]
            found[name] = max(sorted(set(texts)), key=texts.count)
    return found


def _names(facts: Sequence[Facts]) -> list[str]:
    return [name for name in (*FACTS, *DESCRIPTIVE) if any(name in of for of in facts)]


def _numbers(facts: Sequence[Facts], name: str) -> list[float]:
    return [float(of[name]) for of in facts if name in of and not isinstance(of[name], str)]


def _grey_facts(image: Image.Image) -> dict[str, float]:
    """Returns the facts of an 8-bit image's pixels."""
    if (step := -(-max(image.size) // _MOST_SIDE)) > 1:
        size = (-(-image.width // step), -(-image.height // step))
        image = image.resize(size, Image.Resampling.NEAREST)
    grey = image.convert("L")
    whole = np.array(grey.histogram(), float)
    outer, border = (whole - _inside(grey, share) for share in (_OUTER, _BORDER))
    colored = 0.0
    if image.mode == "RGB":
        channels = np.asarray(image)[::2, ::2]
        colored = float((channels.max(axis=2) - channels.min(axis=2) > _COLORED).mean())
    mean, spread, black, white, _ = _moments(whole)
    border_mean, border_spread, *_ = _moments(border)
    outer_mean, outer_spread, outer_black, outer_white, outer_saturated = _moments(outer)
    return {
        "mean": mean,
        "spread": spread,
        "black": black,
        "white": white,
        "border_mean": border_mean,
        "border_spread": border_spread,
        "outer_mean": outer_mean,
        "outer_spread": outer_spread,
        "outer_black": outer_black,
        "outer_white": outer_white,
        "outer_saturated": outer_saturated,
        "colored": colored,
        "strokes": _strokes(np.asarray(grey)),
    }


def _inside(grey: Image.Image, share: float) -> NDArray[np.float64]:
    """Returns the histogram of an image without `share` of its width and height, at least one pixel, on each side."""
    across, down = (max(1, round(side * share)) for side in grey.size)
    if 2 * across >= grey.width or 2 * down >= grey.height:
        return np.zeros(256)
    return np.array(grey.crop((across, down, grey.width - across, grey.height - down)).histogram(), float)


def _moments(histogram: NDArray[np.float64]) -> tuple[float, float, float, float, float]:
    """Returns mean, standard deviation, and the shares of black, white and saturated pixels."""
    share = histogram / histogram.sum()
    levels = np.arange(256)
    mean = float(share @ levels)
    spread = float(np.sqrt(max(0.0, share @ (levels - mean) ** 2)))
    black, white = float(share[: _BLACK + 1].sum()), float(share[_WHITE:].sum())
    return mean, spread, black, white, float(share[_SATURATED])


def _strokes(grey: NDArray[np.uint8]) -> float:
    """Returns the largest share of pixels on thin bright strokes in one of the cells along the border.

    A stroke is brighter than the pixels at both of its sides: a letter's, not the outline of the body.
    """
    height, width = grey.shape
    reach = max(2, round(max(height, width) * _STROKE_WIDTH))
    if min(height, width) < _CELLS * reach:
        return 0.0
    levels = grey.astype(np.int16)
    rows, columns = (np.linspace(0, side, _CELLS + 1).astype(int) for side in (height, width))
    highest = 0.0
    for strip in (levels[: rows[1]], levels[rows[-2] :], levels[:, : columns[1]].T, levels[:, columns[-2] :].T):
        middle = strip[:, reach:-reach]
        on_stroke = (middle - strip[:, : -2 * reach] > _STROKE) & (middle - strip[:, 2 * reach :] > _STROKE)
        cells = np.array_split(on_stroke.mean(axis=0), _CELLS)
        highest = max(highest, *(float(cell.mean()) for cell in cells))
    return highest
