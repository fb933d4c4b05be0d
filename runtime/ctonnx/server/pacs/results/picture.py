"""Picture for a PACS: the slice that carried the decision, the slice under its heatmap, a legend, and a warning."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ctonnx import __version__
from ctonnx.artifacts.decision.rule import DecisionName
from ctonnx.images.preprocessing import region
from ctonnx.parity.rounding import shown
from ctonnx.prediction.output.pictures.heatmap_image import (
    colors,
    fonts,
    heated,
    overlay_heatmap,
    plain,
    shortened,
    wrapped,
)
from ctonnx.prediction.results import Prediction
from ctonnx.prediction.series.reduction import GroupPrediction
from ctonnx.server.pacs.results.document import ResultModel, SeriesResult
from ctonnx.system.text import counted

__all__ = ["WARNING", "draw_picture", "explained_class"]

WARNING = "RESEARCH, NOT FOR DIAGNOSIS"
"""Text at the top of each picture."""

_PANEL, _MARGIN, _BAR, _BAR_LABELS, _LINE = 512, 16, 18, 44, 19  # pixels
_STRIP, _HEADER = 34, 146
_WIDTH = _MARGIN + 2 * (_PANEL + _MARGIN) + _BAR + _BAR_LABELS
_GROUND, _AREA, _TEXT, _DIM = (16, 16, 16), (32, 32, 32), (240, 240, 240), (175, 175, 175)
_AMBER, _ON_AMBER = (249, 170, 40), (20, 14, 0)
_TITLES: dict[DecisionName, str] = {"positive": "Positive", "negative": "Negative", "refer": "Refer to a person"}


def draw_picture(result: SeriesResult, scan: Image.Image) -> Image.Image:
    """Draws the slice with the highest score alone and under the heatmap of `explained_class`.

    The picture has no patient data and no name of a file.

    Args:
        result: The prediction for a series.
        scan: Decoded image of the slice, of mode `L` or `RGB`.

    Returns:
        RGB picture of 1134 pixels by about 760.
    """
    model, (index, found) = result.model, result.prediction.strongest[0]
    shown_class = explained_class(found, result.prediction, model)
    large, middle, small = fonts()
    text_width = _WIDTH - 2 * _MARGIN
    notes = wrapped(plain(_notes(result.prediction, found, model, shown_class)), text_width)
    named = f"Model: {model.spec.name}, {model.spec.precision}, sha256 {model.sha256[:16]}; ctonnx {__version__}"
    height = _HEADER + _PANEL + _LINE * (len(notes) + 1) + 2 * _MARGIN
    picture = Image.new("RGB", (_WIDTH, height), _GROUND)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, _WIDTH, _STRIP - 1), _AMBER)
    pen.text((_MARGIN, _STRIP / 2), WARNING, _ON_AMBER, middle, anchor="lm")
    by = shortened(f"ctonnx, model {model.spec.name}", text_width - round(middle.getlength(WARNING)) - _MARGIN)
    pen.text((_WIDTH - _MARGIN, _STRIP / 2), by, _ON_AMBER, small, anchor="rm")
    pen.text((_MARGIN, 61), _TITLES[result.prediction.decision], _TEXT, large, anchor="lm")
    pen.text((_MARGIN, 90), _score(result.prediction, model), _TEXT, middle, anchor="lm")

    alone = _fitted(scan)
    heat = overlay_heatmap(
        found.heatmap[model.spec.classes.index(shown_class)],
        alone.size,
        model.spec.preprocessing,
        region(scan, model.spec.preprocessing),
    )
    of_heatmap = f"Evidence for {shown_class} (Grad-CAM)", _TEXT
    if _is_empty(found, model, shown_class):
        of_heatmap = f"The heatmap is empty: no evidence for {shown_class} (Grad-CAM)", _AMBER
    titles = (_place(result, index), _TEXT), of_heatmap
    for number, (panel, (title, color)) in enumerate(zip((alone, heated(alone, heat)), titles, strict=True)):
        left = _MARGIN + number * (_PANEL + _MARGIN)
        pen.text((left, _HEADER - 15), shortened(title, _PANEL), color, small, anchor="lm")
        pen.rectangle((left, _HEADER, left + _PANEL - 1, _HEADER + _PANEL - 1), _AREA)
        corner = left + (_PANEL - panel.width) // 2, _HEADER + (_PANEL - panel.height) // 2
        picture.paste(panel, corner)
    _draw_scale(picture, pen)
    top = _HEADER + _PANEL + _MARGIN
    for number, line in enumerate((*notes, shortened(named, text_width))):
        pen.text((_MARGIN, top + _LINE * number + _LINE / 2), line, _DIM, small, anchor="lm")
    return picture


def explained_class(found: Prediction, series: GroupPrediction, model: ResultModel) -> str:
    """Returns the class whose heatmap is shown: the most probable suspicious one if the series' score is, else its own.

    Args:
        found: Prediction for the slice.
        series: Prediction for the series.
        model: The model.
    """
    if series.score < model.rule.point.threshold:
        return found.label
    return max(model.rule.point.positive, key=lambda name: found.probabilities[name])


def _fitted(scan: Image.Image) -> Image.Image:
    scale = _PANEL / max(scan.size)
    size = max(1, round(scan.width * scale)), max(1, round(scan.height * scale))
    return scan.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _draw_scale(picture: Image.Image, pen: ImageDraw.ImageDraw) -> None:
    """Draws the colour bar with its labels."""
    left, font = _WIDTH - _BAR - _BAR_LABELS, fonts()[-1]
    ramp: NDArray[np.float32] = np.linspace(1, 0, _PANEL, dtype=np.float32)
    bar = np.repeat(np.rint(colors(ramp)).astype(np.uint8)[:, None], _BAR, axis=1)
    picture.paste(Image.fromarray(bar), (left, _HEADER))
    for share, name in ((0.0, "1.0"), (0.5, "0.5"), (1.0, "0.0")):
        y = _HEADER + 7 + share * (_PANEL - 15)
        pen.text((left + _BAR + 6, y), name, _DIM, font, anchor="lm")


def _score(series: GroupPrediction, model: ResultModel) -> str:
    threshold = model.rule.point.threshold
    score = shown(series.score, threshold, digits=4, form="f")
    compared = f"Series: score {score}, operating point {shown(threshold, series.score, digits=4, form='f')}"
    found = f"{compared}; predicted class {plain(series.label)} {series.probability:.4f}"
    fits = fonts()[1].getlength(found) <= _WIDTH - 2 * _MARGIN
    return found if fits else compared


def _place(result: SeriesResult, index: int) -> str:
    """Returns the place of a slice in words: Instance Number, frame and position."""
    image, curve = result.images[index], result.prediction.curve
    number = result.source_image(image).number
    parts = ["Slice with the highest score"]
    parts += [f"image {number}"] if number is not None else []
    parts += [f"frame {image.frame + 1}"] if image.frame is not None else []
    parts += [f"{curve.places[index]:.1f} mm"] if curve.axis == "mm" else []
    return f"{', '.join(parts)}: score {min(1.0, float(curve.scores[index])):.4f}"


def _is_empty(found: Prediction, model: ResultModel, name: str) -> bool:
    """Returns whether a slice has no positive evidence for a class."""
    return not found.heatmap[model.spec.classes.index(name)].any()


def _notes(series: GroupPrediction, found: Prediction, model: ResultModel, name: str) -> str:
    rows, columns = found.heatmap.shape[1:]
    reason = f"Reason to refer: {series.reason}. " if series.reason else ""
    failed = f", {series.failed} could not be read" if series.failed else ""
    empty = "The heatmap is empty. " if _is_empty(found, model, name) else ""
    return (
        f"{reason}{empty}Colour: evidence for {name}, relative to its maximum in this slice; {rows} x {columns} cells, "
        f"drawn smoothly: a region, not a finding. Score: the probability of {' + '.join(model.rule.point.positive)}. "
        f"{counted(series.used, 'slice')} predicted{failed}. "
        "A research tool, not a medical device."
    )
