"""Picture of a group of slices: the score along the body, and the three strongest slices under their heatmaps."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ctonnx.artifacts.decision.rule import DecisionName
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.images.preprocessing import region
from ctonnx.parity.rounding import shown
from ctonnx.prediction.output.pictures.heatmap_image import (
    Font,
    fonts,
    heated,
    overlay_heatmap,
    plain,
    shortened,
    wrapped,
)
from ctonnx.prediction.results import Prediction
from ctonnx.prediction.series.ordering import Axis
from ctonnx.prediction.series.reduction import Curve, GroupPrediction, GroupRule
from ctonnx.system.text import counted

__all__ = ["draw_group", "ticks"]

_MARGIN, _HEADER, _LINE = 16, 112, 18  # pixels
_PLOT_WIDTH, _PANEL, _GAP = 640, 232, 12
_CAPTION = 3 * _LINE + 6
_HEIGHT = 2 * _PANEL + _GAP + _CAPTION  # of the plot, and of the slices next to it
_LEFT, _TOP, _BOTTOM = 52, 34, 50  # around the area of the curve: labels, legend
_BADGE, _BADGE_DISTANCE, _BADGES = 9, 22, 34  # radius, distance, and height of their strip above the curve
_LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
_FINE = 3  # the curve is drawn this much larger and reduced, for smooth lines
_WIDTH = 2 * _MARGIN + _PLOT_WIDTH + 3 * (_PANEL + _GAP)
_GROUND, _AREA, _GRID = (16, 16, 16), (28, 28, 28), (56, 56, 56)
_TEXT, _DIM = (240, 240, 240), (170, 170, 170)
_CURVE, _POINT, _ABOVE, _FLAG = (120, 130, 140), (150, 160, 170), (249, 140, 10), (130, 170, 255)
_MOST_POINTS = 150  # of more slices only the line is drawn
_DECISIONS: dict[DecisionName, str] = {"positive": "Positive", "negative": "Negative", "refer": "Refer"}
_AXES: dict[Axis, str] = {
    "mm": "position along the body (mm)",
    "instance": "slice (Instance Number)",
    "count": "slice (in the order of the names)",
}


def draw_group(record: GroupPrediction, scans: Sequence[Image.Image], spec: ModelSpec, rule: GroupRule) -> Image.Image:
    """Draws the score along the body and, next to it, the strongest slices alone and under their heatmaps.

    The heatmap of a slice is that of its most probable suspicious class, also if another class is more probable: the
    slices are shown for their scores, which are of the suspicious classes.

    Args:
        record: Prediction for the group.
        scans: Decoded images of `record.strongest`, of mode `L` or `RGB`.
        spec: Spec of the model.
        rule: Rule that decided about the group.

    Returns:
        RGB picture of about 1420 x 720 pixels.
    """
    large, middle, small = fonts()
    text_width = _WIDTH - 2 * _MARGIN
    notes = wrapped(plain(_notes(record, spec, rule)), text_width)
    picture = Image.new("RGB", (_WIDTH, _HEADER + _HEIGHT + _LINE * (len(notes) + 1)), _GROUND)
    pen = ImageDraw.Draw(picture)
    threshold = rule.point.threshold
    score = shown(record.score, threshold, digits=4, form="f")
    compared = f"score {score}, threshold {shown(threshold, record.score, digits=4, form='f')}"
    pen.text((_MARGIN, 24), f"{_DECISIONS[record.decision]}: {compared}", _TEXT, large, anchor="lm")
    counts = plain(f"{_counts(record)}; predicted class {record.label} {record.probability:.4f}")
    pen.text((_MARGIN, 51), _cut(counts, middle, text_width), _TEXT, middle, anchor="lm")
    pen.text((_MARGIN, 74), shortened(f"{record.by.title()}: {record.name}", text_width), _DIM, small, anchor="lm")
    trained = f", trained {spec.created[:10]}" if spec.created else ""
    model = f"Model: {spec.name}, {spec.precision}{trained}, checkpoint {spec.checkpoint_sha256[:12]}"
    pen.text((_MARGIN, 93), shortened(model, text_width), _DIM, small, anchor="lm")
    picture.paste(_plot(record, threshold), (_MARGIN, _HEADER))
    for rank, ((index, found), scan) in enumerate(zip(record.strongest, scans, strict=True)):
        left = _MARGIN + _PLOT_WIDTH + _GAP + rank * (_PANEL + _GAP)
        title = f"{_place(record.curve, index)}, score {record.curve.scores[index]:.4f}"
        explained = max(rule.point.positive, key=found.probabilities.__getitem__)
        picture.paste(_slice(rank, title, found, explained, scan, spec), (left, _HEADER))
    for number, note in enumerate(notes):
        pen.text((_MARGIN, _HEADER + _HEIGHT + _LINE * (number + 1)), note, _DIM, small, anchor="lm")
    return picture


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Returns round numbers from low to high: at most `most`, at distances of 1, 2 or 5 times a power of ten.

    >>> ticks(-212.5, -10), ticks(1, 8)
    ([-200.0, -150.0, -100.0, -50.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    """
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(step for factor in (1, 2, 5, 10) if span / (step := factor * power) <= most)
    return [step * number for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _plot(record: GroupPrediction, threshold: float) -> Image.Image:
    """Draws the score along the body, with the threshold and marks at the slices that carried it."""
    curve = record.curve
    low, high = float(curve.places.min()), float(curve.places.max())
    pad = 0.02 * (high - low) or 1.0
    small = fonts()[-1]
    label = f"threshold {shown(threshold, record.score, digits=4, form='f')}"
    beside = math.ceil(small.getlength(label)) + _GAP  # the label is right of the curve, where it hides no point
    across, down = _PLOT_WIDTH - _LEFT - beside, _HEIGHT - _TOP - _BOTTOM

    def at(place: float, score: float) -> tuple[float, float]:
        x = (place - low + pad) / (high - low + 2 * pad) * across
        return x, _BADGES + (1 - min(score, 1.0)) * (down - _BADGES - 6)  # a point at 0 is visible as a whole

    plot = Image.new("RGB", (_PLOT_WIDTH, _HEIGHT), _GROUND)
    marks = [at(float(curve.places[index]), float(curve.scores[index])) for index, _ in record.strongest]
    badges = _apart([x for x, _ in marks], across)
    plot.paste(_area(curve, threshold, (across, down), at, list(zip(badges, marks, strict=True))), (_LEFT, _TOP))
    pen = ImageDraw.Draw(plot)
    for score in _LEVELS:
        pen.text((_LEFT - 8, _TOP + at(low, score)[1]), f"{score:.2f}", _DIM, small, anchor="rm")
    pen.text((_LEFT - 8, _TOP + 13), "score", _DIM, small, anchor="rm")
    for place in ticks(low, high):
        if curve.axis == "mm" or place == round(place):
            x = _LEFT + at(place, 0)[0]
            pen.line((x, _TOP + down, x, _TOP + down + 4), _DIM)
            pen.text((x, _TOP + down + 14), f"{place:g}", _DIM, small, anchor="mm")
    towards = ", towards the head" if curve.axis == "mm" and curve.is_axial else ""
    pen.text((_LEFT + across / 2, _TOP + down + 36), _AXES[curve.axis] + towards, _DIM, small, anchor="mm")
    pen.text((_LEFT + across + _GAP // 2, _TOP + at(low, threshold)[1]), label, _ABOVE, small, anchor="lm")
    for rank, x in enumerate(badges):
        _badge(pen, (_LEFT + x, _TOP + 13), rank)
    _legend(pen, curve, small)
    return plot


def _area(
    curve: Curve,
    threshold: float,
    size: tuple[int, int],
    at: Callable[[float, float], tuple[float, float]],
    marks: Sequence[tuple[float, tuple[float, float]]],
) -> Image.Image:
    """Draws the curve itself, enlarged, and reduces it; `marks` are the strongest slices' badges and points."""
    fine = Image.new("RGB", (size[0] * _FINE, size[1] * _FINE), _AREA)
    pen = ImageDraw.Draw(fine)

    def scaled(place: float, score: float) -> tuple[float, float]:
        x, y = at(place, score)
        return x * _FINE, y * _FINE

    for score in _LEVELS:
        y = at(0, score)[1] * _FINE
        pen.line((0, y, fine.width, y), _GRID, _FINE)
    for badge, (x, y) in marks:
        pen.line((badge * _FINE, 13 * _FINE, x * _FINE, y * _FINE), _DIM, _FINE)
    y = at(0, threshold)[1] * _FINE
    for x in range(0, fine.width, 14 * _FINE):
        pen.line((x, y, x + 8 * _FINE, y), _ABOVE, round(1.4 * _FINE))
    points = [scaled(*point) for point in zip(curve.places.tolist(), curve.scores.tolist(), strict=True)]
    if len(points) > 1:
        pen.line([value for point in points for value in point], _CURVE, 2 * _FINE, joint="curve")
    carrying = set(curve.carrying.tolist())
    is_sparse = len(points) <= _MOST_POINTS
    for index, (x, y) in enumerate(points):
        color = _ABOVE if curve.scores[index] >= threshold else _POINT
        if is_sparse or (index in carrying and len(carrying) <= _MOST_POINTS):
            _disc(pen, (x, y), 3.5 * _FINE, color)
        if index in carrying and len(carrying) < len(points):
            _disc(pen, (x, y), 6.5 * _FINE, None, outline=_TEXT, width=round(1.5 * _FINE))
        if curve.flagged[index]:
            pen.line((x, fine.height - 9 * _FINE, x, fine.height), _FLAG, 2 * _FINE)
    return fine.resize(size, Image.Resampling.LANCZOS)


def _disc(
    pen: ImageDraw.ImageDraw,
    center: tuple[float, float],
    radius: float,
    fill: tuple[int, int, int] | None,
    outline: tuple[int, int, int] | None = None,
    width: int = 1,
) -> None:
    x, y = center
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill, outline, width)


def _apart(places: Sequence[float], across: float) -> list[float]:
    """Returns places moved so that badges do not overlap, in the same order along the axis."""
    order = np.argsort(places, kind="stable")
    moved = [min(max(places[index], _BADGE), across - _BADGE) for index in order]
    for number in range(1, len(moved)):  # to the right, and back from the right edge
        moved[number] = max(moved[number], moved[number - 1] + _BADGE_DISTANCE)
    for number in range(len(moved) - 1, -1, -1):
        right = across - _BADGE if number == len(moved) - 1 else moved[number + 1] - _BADGE_DISTANCE
        moved[number] = min(moved[number], right)
    return [moved[int(rank)] for rank in np.argsort(order)]


def _badge(pen: ImageDraw.ImageDraw, center: tuple[float, float], rank: int) -> None:
    """Draws the number of a strongest slice in a disc."""
    _disc(pen, center, _BADGE, _TEXT)
    pen.text(center, str(rank + 1), _GROUND, fonts()[-1], anchor="mm")


def _legend(pen: ImageDraw.ImageDraw, curve: Curve, font: Font) -> None:
    """Draws the meaning of the marks above the plot."""
    x, y = float(_LEFT), 14.0
    entries = [("1", "strongest")]
    if len(curve.carrying) < len(curve.scores):
        entries.append(("carrying", "carried the score"))
    entries.append(("above", "at the threshold or more"))
    if curve.flagged.any():
        entries.append(("flag", "flagged"))
    for kind, text in entries:
        if kind == "1":
            _badge(pen, (x + 8, y), 0)
        elif kind == "carrying":
            _disc(pen, (x + 8, y), 6, None, outline=_TEXT, width=2)
        elif kind == "above":
            _disc(pen, (x + 8, y), 4, _ABOVE)
        else:
            pen.line((x + 8, y - 5, x + 8, y + 5), _FLAG, 2)
        pen.text((x + 22, y), text, _DIM, font, anchor="lm")
        x += 22 + font.getlength(text) + 18


def _slice(rank: int, title: str, found: Prediction, explained: str, scan: Image.Image, spec: ModelSpec) -> Image.Image:
    """Draws a slice, the slice under the heatmap of a class below it, its title, the class and the file."""
    scale = _PANEL / max(scan.size)
    size = max(1, round(scan.width * scale)), max(1, round(scan.height * scale))
    alone = scan.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    evidence = found.heatmap[spec.classes.index(explained)]
    heat = overlay_heatmap(evidence, size, spec.preprocessing, region(scan, spec.preprocessing))
    drawn = Image.new("RGB", (_PANEL, _HEIGHT), _GROUND)
    for panel, top in ((alone, 0), (heated(alone, heat), _PANEL + _GAP)):
        drawn.paste(_AREA, (0, top, _PANEL, top + _PANEL))
        drawn.paste(panel, ((_PANEL - size[0]) // 2, top + (_PANEL - size[1]) // 2))
    pen, (_, _, small) = ImageDraw.Draw(drawn), fonts()
    _badge(pen, (14, 14), rank)
    top = 2 * _PANEL + _GAP + 6
    empty = "" if evidence.any() else "empty heatmap of "
    lines = (
        (f"{title}, {found.label}", _TEXT),
        (f"{empty or 'evidence for '}{explained} {found.probabilities[explained]:.4f}", _TEXT),
        (Path(found.source).name, _DIM),
    )
    for number, (line, color) in enumerate(lines):
        pen.text((0, top + _LINE * number + _LINE // 2), _cut(plain(line), small, _PANEL), color, small, anchor="lm")
    return drawn


def _cut(text: str, font: Font, text_width: int) -> str:
    """Returns text cut at its right end to fit the width."""
    if font.getlength(text) <= text_width:
        return text
    while text and font.getlength(f"{text}...") > text_width:
        text = text[:-1]
    return f"{text}..."


def _place(curve: Curve, index: int) -> str:
    value = curve.places[index]
    return f"{value:.1f} mm" if curve.axis == "mm" else f"slice {value:.0f}"


def _counts(record: GroupPrediction) -> str:
    """Returns the numbers of slices in words."""
    parts = [f"{record.carrying} of {counted(record.used, 'slice')} carried the score"]
    parts += [f"{record.failed} failed"] if record.failed else []
    parts += [f"{left.slices} left out ({left.kind})" for left in record.left_out]
    return ", ".join(parts)


def _notes(record: GroupPrediction, spec: ModelSpec, rule: GroupRule) -> str:
    reason = f"Reason to refer: {record.reason}. " if record.reason else ""
    basis = "the mean of the slices that carried it" if record.carrying > 1 else "that of the most suspicious slice"
    flags = "Flagged: unlike the training images, or with a warning. " if record.curve.flagged.any() else ""
    cells = f"{record.strongest[0][1].heatmap.shape[1]} x {record.strongest[0][1].heatmap.shape[2]}"
    return (
        f"{reason}Score: the probability of {' + '.join(rule.point.positive)}; the group's is {basis}. Heatmaps: "
        f"evidence for each slice's most probable suspicious class (Grad-CAM), each relative to its maximum, {cells} "
        "cells drawn smoothly. "
        f"{flags}A research tool, not a medical device."
    )
