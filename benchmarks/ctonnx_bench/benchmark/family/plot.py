"""Plot of a family: accuracy with its interval against latency, size as area, and the Pareto front."""

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import pairwise
from textwrap import fill
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ctonnx.system.text import counted, escape_undecodable
from ctonnx_bench.analysis.statistics import marks
from ctonnx_bench.benchmark.family.labels import Box, Disc, place_labels, side_by_side
from ctonnx_bench.report.charts import COLORS, STYLE, plain_ticks
from ctonnx_train.evaluation.drawing.fonts import drawable, families

__all__ = ["plot_family", "to_png"]

_WIDTH, _HEIGHT = 8.6, 3.6  # inches, of a panel
_DPI = 200
_SPREAD = 4.0  # ratio of slowest to fastest above which the axis is logarithmic
_LARGEST, _LEAST = 320.0, 24.0  # areas of the largest file's disc and of the smallest one, in square points
_GAP = 10.0  # points between two models of nearly the same latency
_GREY = "#666666"
_FAINT = 0.4  # share of the colour that is left of a dominated model
_LABEL: dict[str, Any] = {"fontsize": 8.5, "linespacing": 1.15, "parse_math": False}
_WRAPPED = 22  # letters in a line of a label
_LEADER = 7.0  # points between a disc and its label from which on a line joins them


class _Drawn(NamedTuple):
    """A model in a panel: its case, its disc, the height in the axis's unit, and its colour."""

    case: Mapping[str, Any]
    disc: Disc
    height: float
    color: str

    @property
    def is_bright(self) -> bool:
        return bool(self.case["on_front"])


def plot_family(document: Mapping[str, Any]) -> Figure:
    """Draws a panel for each batch size: accuracy, or without labels the size, against the latency per image.

    A line joins the models on the front, dominated ones are lighter, those with wrong outputs are hollow. Models of
    nearly the same latency are drawn side by side, so that each can be seen.
    """
    cases = document["cases"]
    sizes = sorted({case["batch_size"] for case in cases})
    colors = {model["title"]: COLORS[place % len(COLORS)] for place, model in enumerate(document["models"])}
    with _style():
        figure = Figure(figsize=(_WIDTH, 0.4 + _HEIGHT * len(sizes)), layout="constrained")
        FigureCanvasAgg(figure)
        panels: list[Axes] = figure.subplots(len(sizes), 1, squeeze=False, sharey=True)[:, 0].tolist()
        for axes, size in zip(panels, sizes, strict=True):
            _set_latencies(axes, _of_batch(cases, size))
        _set_heights(panels[0], document)
        for axes in panels:
            axes.set_ylabel(_height_label(document))
        figure.supxlabel(_caption(document), fontsize=8, color=_GREY, linespacing=1.3)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # labels are placed in this layout
        for axes, size in zip(panels, sizes, strict=True):
            drawn = _drawn(axes, _of_batch(cases, size), colors)
            _label(axes, drawn, [*_draw_models(axes, drawn), *_draw_front(axes, drawn)])
    return figure


def to_png(figure: Figure) -> bytes:
    """Returns a plot as the bytes of a PNG file."""
    file = BytesIO()
    with _style():
        figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()


def _style() -> Any:
    """Returns the settings of a benchmark's plots, with the installed fonts for names in any script."""
    return mpl.rc_context(STYLE | {"font.family": list(families())})


def _of_batch(cases: Sequence[Mapping[str, Any]], size: int) -> list[Mapping[str, Any]]:
    return [case for case in cases if case["batch_size"] == size]


def _set_latencies(axes: Axes, cases: Sequence[Mapping[str, Any]]) -> None:
    """Starts the axis at 0, or makes it logarithmic if the latencies differ too much."""
    low, high = (bound(case["ms_per_image"] for case in cases) for bound in (min, max))
    if high > _SPREAD * low:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.5, high * 1.5)
        plain_ticks(axes.xaxis)
    else:
        axes.set_xlim(0, high * 1.3)
    batch = cases[0]["batch_size"]
    axes.set_xlabel("milliseconds per image" + ("" if batch == 1 else f", of a batch of {batch}"))
    axes.set_title(f"Batch {batch}")


def _set_heights(axes: Axes, document: Mapping[str, Any]) -> None:
    cases = document["cases"]
    if _has_accuracy(document):
        low, high = min(case["accuracy"]["low"] for case in cases), max(case["accuracy"]["high"] for case in cases)
        room = 0.08 * (high - low)
        axes.set_ylim(max(0.0, low - room), min(1.0, high + room))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2f}"))
    else:
        axes.set_ylim(0, max(case["bytes"] for case in cases) / 1e6 * 1.25)
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _height_label(document: Mapping[str, Any]) -> str:
    if not _has_accuracy(document):
        return "size of the file, MB"
    about = document["checked_on"]
    return f"accuracy, {counted(about['images'], 'image')} ({about['split']})"


def _has_accuracy(document: Mapping[str, Any]) -> bool:
    return all(case["accuracy"] for case in document["cases"])


def _caption(document: Mapping[str, Any]) -> str:
    front = "line: Pareto front; lighter: another model is at least as fast and as "
    if not _has_accuracy(document):
        return f"{front}small; area: size; models of nearly the same latency are side by side"
    return (
        f"{front}accurate; bars: 95 % intervals\narea: size of the file; models of nearly the same latency are side by "
        "side"
    )


def _drawn(axes: Axes, cases: Sequence[Mapping[str, Any]], colors: Mapping[str, str]) -> list[_Drawn]:
    """Returns the models with their discs, in points from the figure's lower left corner."""
    heights = [case["accuracy"]["value"] if case["accuracy"] else case["bytes"] / 1e6 for case in cases]
    values = [(case["ms_per_image"], height) for case, height in zip(cases, heights, strict=True)]
    places = axes.transData.transform(values) * _points(axes)
    largest = max(case["bytes"] for case in cases)
    radii = [math.sqrt(max(_LEAST, _LARGEST * case["bytes"] / largest) / math.pi) for case in cases]
    across = side_by_side([float(x) for x, _ in places], radii, _GAP)
    return [
        _Drawn(case, Disc(x, float(y), radius), height, colors[case["contender"]])
        for case, x, (_, y), radius, height in zip(cases, across, places, radii, heights, strict=True)
    ]


def _draw_models(axes: Axes, drawn: Sequence[_Drawn]) -> list[Box]:
    """Draws discs and intervals, and returns the intervals' places."""
    bars = []
    for case, disc, height, color in drawn:
        is_wrong = bool(case["failures"])
        shade = to_rgb(color) if case["on_front"] or is_wrong else _lighter(color)
        x = _to_latency(axes, disc.x)
        if case["accuracy"]:
            ends = case["accuracy"]["low"], case["accuracy"]["high"]
            axes.vlines(x, *ends, color=shade, linewidth=1.5, zorder=2)
            low, high = (float(axes.transData.transform((x, end))[1]) * _points(axes) for end in ends)
            bars.append(Box(disc.x - 1.5, low, disc.x + 1.5, high))
        axes.scatter(
            x,
            height,
            s=math.pi * disc.radius**2,
            facecolors="white" if is_wrong else [shade],
            edgecolors=[shade] if is_wrong else "white",
            linewidths=1.3 if is_wrong else 0.8,
            linestyle="--" if is_wrong else "-",
            zorder=5,
        )
    return bars


def _draw_front(axes: Axes, drawn: Sequence[_Drawn]) -> list[Box]:
    """Draws the front as steps: the best that can be had within each latency; returns the steps' places."""
    front = sorted((model for model in drawn if model.is_bright), key=lambda model: model.disc.x)
    if not front:
        return []
    x = [_to_latency(axes, model.disc.x) for model in front]
    y = [model.height for model in front]
    axes.plot(x, y, color=_GREY, linewidth=1.2, drawstyle="steps-post", zorder=3)
    steps = []
    for left, right in pairwise(front):
        low, high = sorted((left.disc.y, right.disc.y))
        steps.append(Box(left.disc.x, left.disc.y - 1, right.disc.x, left.disc.y + 1))
        steps.append(Box(right.disc.x - 1, low, right.disc.x + 1, high))
    return steps


def _label(axes: Axes, drawn: Sequence[_Drawn], lines: Sequence[Box]) -> None:
    """Writes each label where it covers nothing, with a line to its disc if it is away from it."""
    texts = [_text(model.case) for model in drawn]
    sizes = []
    for text in texts:
        probe = axes.text(0, 0, text, **_LABEL)
        extent = probe.get_window_extent()
        sizes.append((extent.width * _points(axes) + 3, extent.height * _points(axes) + 2))
        probe.remove()
    edges = axes.get_window_extent()
    inside = Box(*(float(value) * _points(axes) for value in (edges.x0, edges.y0, edges.x1, edges.y1)))
    boxes = place_labels([model.disc for model in drawn], sizes, lines, inside)
    for model, text, box in zip(drawn, texts, boxes, strict=True):
        disc = model.disc
        if box.distance(disc) > _LEADER:
            axes.annotate(
                "",
                (disc.x, disc.y),
                box.nearest(disc),
                xycoords="figure points",
                textcoords="figure points",
                arrowprops={"arrowstyle": "-", "color": _GREY, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0},
                zorder=4,
            )
        axes.annotate(
            text,
            (disc.x, disc.y),
            ((box.left + box.right) / 2, (box.bottom + box.top) / 2),
            xycoords="figure points",
            textcoords="figure points",
            ha="center",
            va="center",
            multialignment="left",
            color="#1c1c1c" if model.is_bright else _GREY,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],  # readable over the grid
            zorder=6,
            **_LABEL,
        )


def _text(case: Mapping[str, Any]) -> str:
    state = " (wrong)" if case["failures"] else ""
    name = fill(drawable(escape_undecodable(case["contender"])), _WRAPPED, break_on_hyphens=False)
    latency, size = case["ms_per_image"], case["bytes"] / 1e6
    return f"{name}{marks(case)}{state}\n{latency:.{1 + (latency < 10)}f} ms, {size:.{int(size < 10)}f} MB"


def _lighter(color: str) -> tuple[float, float, float]:
    red, green, blue = (1 - _FAINT * (1 - part) for part in to_rgb(color))
    return red, green, blue


def _to_latency(axes: Axes, across: float) -> float:
    """Returns the value at a place of the axis, in points from the figure's left edge."""
    return float(axes.transData.inverted().transform((across / _points(axes), 0.0))[0])


def _points(axes: Axes) -> float:
    """Returns the points of 1/72 inch in a pixel."""
    figure = axes.get_figure(root=True)
    return 72.0 / figure.dpi if figure else 1.0
