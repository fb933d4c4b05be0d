"""Plots of the kit: time of the steps, speed of training, latency, provider settings, and the GPU's use."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

from ctonnx_bench.report.charts import COLORS, STYLE, plain_ticks

__all__ = ["PLOTS", "draw"]

Steps: TypeAlias = Mapping[str, Mapping[str, Any]]

_WIDTH = 8.6  # inches
_STATES = {
    "passed": "#009E73",
    "failed": "#D55E00",
    "incomplete": "#F0E442",
    "cut": "#E69F00",
    "left out": "#999999",
}
_MARKERS = "osD^vPX*<"


def draw(name: str, document: Mapping[str, Any]) -> Figure | None:
    """Returns a plot of `PLOTS`, or None if its values were not measured."""
    steps = {step["step"]: step for step in document["steps"]}
    with mpl.rc_context(STYLE):
        return PLOTS[name](steps)


def _steps(steps: Steps) -> Figure | None:
    """Draws the start and the end of each step, with its state as the colour."""
    if not steps:
        return None
    figure = Figure(figsize=(_WIDTH, 1.4 + 0.34 * len(steps)), layout="constrained")
    axes = figure.add_subplot()
    start = 0.0
    for row, step in enumerate(steps.values()):
        axes.barh(row, step["seconds"], left=start, height=0.6, color=_STATES[step["state"]])
        start += step["seconds"]
        label = f"{step['seconds']:.0f} s" if step["state"] == "passed" else f"{step['seconds']:.0f} s, {step['state']}"
        axes.annotate(label, (start, row), (5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(steps)), [step["title"].replace("`", "") for step in steps.values()])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, max(1.0, start) * 1.25)
    axes.set_xlabel("seconds")
    axes.set_title("Steps")
    found = {step["state"] for step in steps.values()}
    handles = [Patch(color=color, label=state) for state, color in _STATES.items() if state in found]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _training(steps: Steps) -> Figure | None:
    """Draws the images per second of each training, with the share of the time spent on data."""
    rows = _rows(steps, "training", "Speed")
    if not rows:
        return None
    figure = Figure(figsize=(_WIDTH, 1.3 + 0.5 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        axes.barh(place, row["images_per_s"], height=0.6, color=COLORS[place % len(COLORS)])
        label = f"{row['images_per_s']:.0f}; data {row['data_share']:.1%}"
        axes.annotate(label, (row["images_per_s"], place), (5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(rows)), [row["training"] for row in rows])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, max(row["images_per_s"] for row in rows) * 1.3)
    axes.set_xlabel("images per second, and share of the time spent on data")
    axes.set_title("Training")
    return figure


def _latency(steps: Steps) -> Figure | None:
    """Draws the milliseconds per image against the batch size, solid on the device and dashed with host copies."""
    rows = _rows(steps, "latency", "Latency")
    if not rows:
        return None
    figure = Figure(figsize=(_WIDTH, 4.4), layout="constrained")
    axes = figure.add_subplot()
    titles = list(dict.fromkeys(row["network"] for row in rows))
    for place, title in enumerate(titles):
        for transfer in dict.fromkeys(row["transfer"] for row in rows):
            own = [row for row in rows if row["network"] == title and row["transfer"] == transfer]
            own = sorted(own, key=lambda row: int(row["batch"]))
            axes.plot(
                [row["batch"] for row in own],
                [row["p50_ms"] / row["batch"] for row in own],
                "--" if transfer == "host copies" else "-",
                marker=_MARKERS[place % len(_MARKERS)],
                color=COLORS[place % len(COLORS)],
                linewidth=1.6,
            )
    sizes = sorted({row["batch"] for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yscale("log")
    plain_ticks(axes.yaxis)
    axes.set(xlabel="batch size", ylabel="milliseconds per image (median)")
    axes.set_title("Latency per image: solid in the device's memory, dashed with host copies")
    handles = [
        Line2D([], [], color=COLORS[place % len(COLORS)], marker=_MARKERS[place % len(_MARKERS)], label=title)
        for place, title in enumerate(titles)
    ]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _settings(steps: Steps) -> Figure | None:
    """Draws the latency of each setting of the provider as a multiple of the default's, for each precision."""
    rows = [row for row in _rows(steps, "latency", "Provider settings") if row["p50_ms"]]
    if not rows:
        return None
    precisions = list(dict.fromkeys(row["precision"] for row in rows))
    names = list(dict.fromkeys(row["setting"] for row in rows))
    figure = Figure(figsize=(_WIDTH, 1.4 + 0.55 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    height = 0.8 / len(precisions)
    for place, precision in enumerate(precisions):
        own = {row["setting"]: row["p50_ms"] for row in rows if row["precision"] == precision}
        for line, name in enumerate(names):
            if name in own and "default" in own:
                ratio, y = own[name] / own["default"], line + (place - (len(precisions) - 1) / 2) * height
                axes.barh(y, ratio, height=height * 0.9, color=COLORS[place])
                axes.annotate(f"{ratio:.2f}", (ratio, y), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.axvline(1.0, color="#666666", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.1)
    axes.set_xlabel(f"latency as a multiple of the default's, batch {rows[0]['batch']}")
    axes.set_title("Settings of the provider")
    handles = [Patch(color=COLORS[place], label=name) for place, name in enumerate(precisions)]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _use(steps: Steps) -> Figure | None:
    """Draws the share of the time in which the GPU computed, during `ctonnx predict`."""
    course = steps.get("folder", {}).get("series", {}).get("GPU busy")
    if not course or not course[0]:
        return None
    figure = Figure(figsize=(_WIDTH, 2.8), layout="constrained")
    axes: Axes = figure.add_subplot()
    axes.fill_between(course[0], course[1], step="post", color=COLORS[0], alpha=0.25, linewidth=0)
    axes.step(course[0], course[1], where="post", color=COLORS[0])
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.set(xlabel="seconds from the start of the process", ylabel="GPU busy")
    axes.set_title("Use of the GPU during ctonnx predict")
    return figure


def _rows(steps: Steps, step: str, table: str) -> Sequence[Mapping[str, Any]]:
    rows: Sequence[Mapping[str, Any]] = steps.get(step, {}).get("tables", {}).get(table, ())
    return rows


PLOTS: Mapping[str, Callable[[Steps], Figure | None]] = {
    "gpu-steps": _steps,
    "gpu-training": _training,
    "gpu-latency": _latency,
    "gpu-settings": _settings,
    "gpu-use": _use,
}
"""Plots by the names of their files."""
