"""Heatmap pictures: the scan, the scan under the Grad-CAM heatmap of its predicted class, a colour bar and a legend."""

import threading
from bisect import bisect_left
from functools import cache, lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ctonnx.artifacts.decision.rule import DecisionName
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.images import Preprocessing
from ctonnx.images.preprocessing import WHOLE, Region, region
from ctonnx.prediction.results import Prediction
from ctonnx.system.text import escape_control

__all__ = [
    "Font",
    "colors",
    "draw",
    "fitted",
    "fonts",
    "heated",
    "overlay_heatmap",
    "plain",
    "save",
    "shortened",
    "wrapped",
]

_PANEL = 512  # pixels; the longer side of each scan as drawn
_SMALLEST = 256  # pixels; the least width and height of a panel, in which a narrow scan is centered
_MARGIN, _HEADER, _BAR = 16, 112, 18
_BAR_LABELS = 56
_LINE = 18  # pixels; height of a line of small text
_GROUND, _PANEL_GROUND, _TEXT, _DIM = (16, 16, 16), (32, 32, 32), (240, 240, 240), (170, 170, 170)
_OPACITY = 0.6  # of the heatmap at its maximum; at zero, only the scan is visible
# matplotlib's "inferno" (CC0) at nine equal steps: lightness rises evenly, for colour-blind eyes and grey prints too.
_INFERNO = ((0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85), (227, 89, 51), (249, 140, 10),
            (249, 201, 50), (252, 255, 164))  # fmt: skip
_QUICK = 1  # zlib's level: a third of the default's time, and a seventh more bytes
_SIZES = (22, 16, 13)  # points of large, medium and small text
_LOCAL = threading.local()  # a FreeType face must not be shared between threads
_VERDICTS: dict[DecisionName, str] = {"positive": "Suspicious", "negative": "Not suspicious", "refer": "Refer"}
_MOST_DIGITS = 9  # of a score and its threshold; float32 has no more


def draw(scan: Image.Image, prediction: Prediction, spec: ModelSpec, seen: Region | None = None) -> Image.Image:
    """Draws a scan, the scan under the heatmap of its predicted class, a colour bar, and text about both.

    The scan is of mode `L` or `RGB`; the picture is RGB, with two panels of 256 to 512 pixels. `seen` is the part of
    the scan that the model was given; None finds it in this scan.
    """
    size = _panel(scan)
    shown = scan.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    seen = seen or region(scan, spec.preprocessing)
    heat = overlay_heatmap(prediction.heatmap[spec.classes.index(prediction.label)], size, spec.preprocessing, seen)
    mapped = heated(shown, heat)

    across, down = (max(_SMALLEST, side) for side in size)
    right = _MARGIN + across + _MARGIN
    bar = right + across + _MARGIN
    large, middle, small = fonts()
    heading = plain(f"{prediction.label}  {prediction.probability:.4f}")
    width = max(bar + _BAR + _BAR_LABELS, 2 * _MARGIN + round(large.getlength(heading)))
    text_width = width - 2 * _MARGIN
    notes = wrapped(plain(_notes(prediction, spec, empty=not heat.any())), text_width)
    picture = Image.new("RGB", (width, _HEADER + down + _LINE * (len(notes) + 1)), _GROUND)
    for panel, left in ((shown, _MARGIN), (mapped, right)):
        picture.paste(_PANEL_GROUND, (left, _HEADER, left + across, _HEADER + down))
        picture.paste(panel, (left + (across - size[0]) // 2, _HEADER + (down - size[1]) // 2))

    pen = ImageDraw.Draw(picture)
    pen.text((_MARGIN, 24), heading, _TEXT, large, anchor="lm")
    pen.text((_MARGIN, 51), _verdict(prediction, spec), _TEXT, middle, anchor="lm")
    pen.text((_MARGIN, 74), shortened(f"File: {_named(prediction)}", text_width), _DIM, small, anchor="lm")
    trained = f", trained {spec.created[:10]}" if spec.created else ""
    model = f"Model: {spec.name}, {spec.precision}{trained}, checkpoint {spec.checkpoint_sha256[:12]}"
    picture.paste(_small_text((shortened(model, text_width),), width), (0, 93 - _LINE // 2))
    picture.paste(_scale(down), (bar, _HEADER - _LINE // 2))
    picture.paste(_small_text(notes, width), (0, _HEADER + down + _LINE))
    return picture


def heated(scan: Image.Image, heat: NDArray[np.float32]) -> Image.Image:
    """Returns an RGB scan under a heatmap of its size, from `overlay_heatmap`."""
    # In bytes, as the picture has no more than 256 levels.
    levels = np.rint(heat * 255).astype(np.uint8)
    opacity = Image.fromarray(np.rint(heat * (_OPACITY * 255)).astype(np.uint8))
    return Image.composite(Image.fromarray(_palette()[levels]), scan, opacity)


@lru_cache(maxsize=16)
def _small_text(lines: tuple[str, ...], width: int) -> Image.Image:
    """Returns lines of small text, which are the same in most pictures of a folder; callers must not change them."""
    strip = Image.new("RGB", (width, _LINE * len(lines)), _GROUND)
    pen = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        pen.text((_MARGIN, _LINE * number + _LINE // 2), line, _DIM, fonts()[-1], anchor="lm")
    return strip


@lru_cache(maxsize=16)
def _scale(height: int) -> Image.Image:
    """Returns the colour bar with its labels, half a line higher at both ends; callers must not change it."""
    above = _LINE // 2
    strip = Image.new("RGB", (_BAR + _BAR_LABELS, height + _LINE), _GROUND)
    ramp = np.repeat(np.rint(np.linspace(255, 0, height)).astype(np.uint8)[:, None], _BAR, axis=1)
    strip.paste(Image.fromarray(_palette()[ramp]), (0, above))
    pen = ImageDraw.Draw(strip)
    for share, name in ((0.0, "1.0"), (0.5, "0.5"), (1.0, "0.0")):
        pen.text((_BAR + 6, above + share * (height - 1)), name, _DIM, fonts()[-1], anchor="lm")
    return strip


def save(picture: Image.Image, file: Path) -> None:
    """Writes a picture as a PNG, optimized for speed rather than size, as there is one for each image of a folder."""
    picture.save(file, "PNG", compress_level=_QUICK)


def _verdict(prediction: Prediction, spec: ModelSpec) -> str:
    """Returns the decision, with score and threshold in as many digits as distinguish them."""
    if spec.operating_point is None or prediction.score is None or prediction.decision is None:
        return "This model has no operating point"
    score, threshold = prediction.score, spec.operating_point.threshold
    digits = 4
    while digits < _MOST_DIGITS and score != threshold and f"{score:.{digits}f}" == f"{threshold:.{digits}f}":
        digits += 1
    return f"{_VERDICTS[prediction.decision]}: score {score:.{digits}f}, threshold {threshold:.{digits}f}"


def _named(prediction: Prediction) -> str:
    if prediction.frame is None:
        return prediction.source
    return f"{prediction.source.removesuffix(f'#{prediction.frame + 1}')}, frame {prediction.frame + 1}"


def _notes(prediction: Prediction, spec: ModelSpec, *, empty: bool) -> str:
    rows, columns = prediction.heatmap.shape[1:]
    nothing = f"No evidence for {prediction.label}: the heatmap is empty. " if empty else ""
    point = spec.operating_point
    reason = f"Reason to refer: {prediction.reason}. " if prediction.reason else ""
    score = f"Score: the probability of {' + '.join(point.positive)}. " if point else ""
    return (
        f"{reason}{nothing}Colour: evidence for {prediction.label} (Grad-CAM), relative to its maximum. The heatmap is "
        f"coarse: {rows} x {columns} cells, drawn smoothly; details smaller than a cell are not resolved. {score}"
        "A research tool, not a medical device."
    )


def plain(text: str) -> str:
    """Escapes all characters but ASCII, as Pillow's default font has no glyphs for others."""
    return escape_control(text).encode("ascii", errors="backslashreplace").decode("ascii")


Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont
"""A font of Pillow."""


def fonts() -> tuple[Font, ...]:
    """Returns Pillow's default font, large, medium and small; reading it takes longer than drawing a line."""
    fonts: tuple[Font, ...] | None = getattr(_LOCAL, "fonts", None)
    if fonts is None:
        fonts = _LOCAL.fonts = tuple(ImageFont.load_default(points) for points in _SIZES)
    return fonts


@lru_cache(maxsize=64)
def wrapped(text: str, text_width: int) -> tuple[str, ...]:
    """Returns text in lines that fit the width; most pictures of a folder have the same."""
    lines, font = [""], fonts()[-1]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > text_width:
            lines.append(word)
        else:
            lines[-1] = longer
    return tuple(lines)


def shortened(text: str, text_width: int) -> str:
    """Returns text shortened from the left to fit the width, so that a file name stays visible."""
    font, text = fonts()[-1], plain(text)
    if font.getlength(text) <= text_width:
        return text
    head, _, tail = text.partition(" ")
    ends = [f"{head} ...{tail[dropped:]}" for dropped in range(1, len(tail) + 1)]
    fitting = bisect_left(ends, True, key=lambda end: font.getlength(end) <= text_width)
    return ends[min(fitting, len(ends) - 1)]


def _panel(scan: Image.Image) -> tuple[int, int]:
    scale = _PANEL / max(scan.size)
    return max(1, round(scan.width * scale)), max(1, round(scan.height * scale))


def fitted(scan: Image.Image) -> Image.Image:
    """Returns a scan reduced to the size at which it is drawn; the picture is the same."""
    return scan if max(scan.size) <= _PANEL else scan.resize(_panel(scan), Image.Resampling.LANCZOS)


def overlay_heatmap(
    heatmap: NDArray[np.float32], size: tuple[int, int], preprocessing: Preprocessing, seen: Region = WHOLE
) -> NDArray[np.float32]:
    """Resizes the heatmap of a class to its scan; it is 0 outside the part that the model was given.

    Args:
        heatmap: float32 [cells, cells], at least 0.
        size: Width and height of the scan, in pixels.
        preprocessing: Preprocessing that turned the scan into the model's square input.
        seen: Part of the scan that the model was given, from `ctonnx.images.preprocessing.region`.

    Returns:
        float32 [height, width], 0 to 1, relative to the heatmap's maximum; all 0 if the heatmap is.
    """
    peak = float(heatmap.max())
    relative = np.clip(heatmap / peak, 0, 1).astype(np.float32) if peak > 0 else np.zeros_like(heatmap, np.float32)
    square = Image.fromarray(relative)
    whole, (left, top, right, bottom) = size, _box(size, seen)
    size = right - left, bottom - top
    if preprocessing.resize == "stretch":
        laid = square.resize(size, Image.Resampling.BICUBIC)
    else:  # the scan is centered in a square as wide as its longer side
        side = max(size)
        x, y = (side - size[0]) // 2, (side - size[1]) // 2
        laid = square.resize((side, side), Image.Resampling.BICUBIC).crop((x, y, x + size[0], y + size[1]))
    heat = np.zeros((whole[1], whole[0]), np.float32)
    heat[top:bottom, left:right] = np.clip(np.asarray(laid, np.float32), 0, 1)
    return heat


def _box(size: tuple[int, int], seen: Region) -> tuple[int, int, int, int]:
    """Returns the edges of a part of a picture in pixels, at least one pixel apart."""
    left, top = (min(round(share * side), side - 1) for share, side in zip(seen[:2], size, strict=True))
    right, bottom = (round(share * side) for share, side in zip(seen[2:], size, strict=True))
    return left, top, max(left + 1, right), max(top + 1, bottom)


@cache
def _palette() -> NDArray[np.uint8]:
    """Returns the colours of 256 evenly spaced values from 0 to 1: uint8 [256, 3]."""
    return np.rint(colors(np.linspace(0, 1, 256, dtype=np.float32))).astype(np.uint8)


def colors(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns colours for values of 0 to 1: float32 [..., 3], RGB, 0 to 255."""
    steps = np.linspace(0, 1, len(_INFERNO))
    channels = [np.interp(values, steps, [color[channel] for color in _INFERNO]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)
