"""Plots of a benchmark: every latency, latency against the batch size, and correctness against latency."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from ctonnx_bench.analysis.statistics import marks

__all__ = ["COLORS", "STYLE", "plain_ticks", "plot_batches", "plot_distribution", "plot_tradeoff", "to_svg"]

# Okabe and Ito 2008, https://jfly.uni-koeln.de/color: distinguishable with any kind of colour vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A6D00", "#777777")
_MARKERS = "osD^vPX*<"
_GREY = "#666666"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "svg.hashsalt": "ctonnx",  # so that the same plots have the same bytes
}
_LINES = {"": "-", "wrong": "--", "not shown": ":"}
_SHOWN = 400  # points per case, drawn from its samples at regular intervals
_WIDTH = 8.6  # inches
_LEAST_DP = 1e-8  # drawn instead of 0, for the logarithmic axis
_SPREAD = 20.0  # ratio of slowest to fastest above which an axis is logarithmic


def plot_distribution(cases: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws every timed run as a point, the quartiles as a box and the 99th percentile as a tick, at one batch size."""
    ordered = sorted(cases, key=lambda case: -case["figures"]["latency_ms"]["p50"])
    colors = _colors(cases)
    jitter = np.random.default_rng(0)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, 1.3 + 0.52 * len(ordered)), layout="constrained")
        axes = figure.add_subplot()
        farthest = 0.0
        for row, case in enumerate(ordered):
            samples = _samples(case)
            latency, color = case["figures"]["latency_ms"], colors[case["title"]]
            some = samples[np.linspace(0, len(samples) - 1, min(len(samples), _SHOWN)).astype(int)]
            axes.scatter(
                some, row + jitter.uniform(-0.3, 0.3, len(some)), s=10, color=color, alpha=0.6, linewidths=0, zorder=2
            )
            quarters = np.percentile(samples, (25, 75))
            axes.barh(
                row, quarters[1] - quarters[0], left=quarters[0], height=0.62, fill=False, edgecolor=color, zorder=3
            )
            axes.vlines(latency["p50"], row - 0.31, row + 0.31, color=color, linewidth=2.4, zorder=4)
            if latency["p99"] is not None:
                axes.vlines(latency["p99"], row - 0.16, row + 0.16, color=_GREY, linewidth=1.2, zorder=4)
            edge = max(float(some.max()), latency["p99"] or 0.0)
            axes.annotate(
                f"{latency['p50']:.1f}", (edge, row), (7, 0), textcoords="offset points", va="center", color=color
            )
            farthest = max(farthest, edge)
        axes.set_yticks(range(len(ordered)), [_titled(case) for case in ordered])
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_ylim(-0.6, len(ordered) - 0.4)
        _latency_axis(axes, ordered, farthest * 1.09)
        axes.set_xlabel("milliseconds per batch: thick line median (with its value), box quartiles, grey tick p99")
        axes.set_title(f"Latency of every run, batch {cases[0]['batch_size']}")
    return figure


def _samples(case: Mapping[str, Any]) -> NDArray[np.float64]:
    """Returns the milliseconds of all runs of a case."""
    return np.concatenate([item["samples_s"] for item in case["rounds"]]) * 1e3


def _titled(case: Mapping[str, Any]) -> str:
    state = _state(case)
    return f"{case['title']}{marks(case)}{f' ({state})' if state else ''}"


def _state(case: Mapping[str, Any]) -> str:
    """Returns the label of outputs that are not right, `wrong` or `not shown`; else an empty text."""
    if case["failures"]:
        return "wrong"
    return "not shown" if case["verdict"] == "not shown" else ""


def plot_batches(cases: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws the milliseconds per image against the batch size, with the quartiles as a band."""
    colors, titles = _colors(cases), list(dict.fromkeys(case["title"] for case in cases))
    sizes = sorted({case["batch_size"] for case in cases})
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, 3.9), layout="constrained")
        axes = figure.add_subplot()
        for place, title in enumerate(titles):
            own = sorted((case for case in cases if case["title"] == title), key=lambda case: int(case["batch_size"]))
            batch = np.array([case["batch_size"] for case in own])
            middle = np.array([case["figures"]["latency_ms"]["p50"] for case in own]) / batch
            low, high = np.transpose([np.percentile(_samples(case), (25, 75)) for case in own]) / batch
            axes.fill_between(batch, low, high, color=colors[title], alpha=0.15, linewidth=0)
            marker = _MARKERS[place % len(_MARKERS)]
            mark = next((found for case in own if (found := marks(case))), "")
            state = next((found for found in ("wrong", "not shown") if found in map(_state, own)), "")
            label = f"{title}{mark}{f' ({state})' if state else ''}"
            axes.plot(batch, middle, _LINES[state], marker=marker, color=colors[title], label=label, linewidth=1.8)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(x=0.06)
        axes.set_yscale("log")
        plain_ticks(axes.yaxis)
        axes.set(xlabel="batch size", ylabel="milliseconds per image")
        axes.set_title("Latency per image against the batch size: median, quartiles as a band")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def plot_tradeoff(cases: Sequence[Mapping[str, Any]], reference: str) -> Figure:
    """Draws accuracy with its 95 % interval, or else the largest |dp|, against latency; the area is the file's size.

    Without labels, the agreement is not drawn: most cases agree on all images. The cases are of one batch size.
    """
    colors = _colors(cases)
    labelled = all(case["accuracy"] for case in cases)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, 4.3), layout="constrained")
        axes = figure.add_subplot()
        handles = []
        for case in cases:
            x, color = case["figures"]["latency_ms"]["p50"], colors[case["title"]]
            y = case["accuracy"]["value"] if labelled else max(_LEAST_DP, case["parity"]["max_dp"])
            if labelled:
                ends = case["accuracy"]["low"], case["accuracy"]["high"]
                axes.vlines(x, *ends, color=color, linewidth=1.2, alpha=0.8)
            state = _state(case)
            axes.scatter(
                x,
                y,
                s=case["bytes"] / 1e6 * 8,
                facecolors="none" if state else to_rgba(color, 0.3),
                edgecolors=color,
                linewidths=1.4,
                linestyle=_LINES[state],
                zorder=3,
            )
            axes.scatter(x, y, s=10, color=color, zorder=4)
            size = f"{case['bytes'] / 1e6:.0f} MB"
            right = f"{y:.1%}" if labelled else f"max |dp| {case['parity']['max_dp']:.1e}"
            label = f"{case['title']}{marks(case)}: {x:.1f} ms, {right}, {size}" + (f", {state}" if state else "")
            handles.append(Line2D([], [], marker="o", linestyle="", color=color, markersize=8, label=label))
        _latency_axis(axes, cases, max(case["figures"]["latency_ms"]["p50"] for case in cases) * 1.15)
        if labelled:
            lowest = min(case["accuracy"]["low"] for case in cases)
            axes.set_ylim(max(0.0, lowest - 0.05), 1.0)
            axes.set_ylabel(f"accuracy on {cases[0]['accuracy']['images']} images, 95 % interval")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}" if value <= 1 else ""))
        else:
            found = [max(_LEAST_DP, case["parity"]["max_dp"]) for case in cases]
            axes.set_yscale("log")
            axes.set_ylim(max(found) * 8, min(found) / 8)  # closer to the reference is further up
            axes.set_ylabel(f"max |dp| from {reference.partition(',')[0]}")
        measure = "Accuracy" if labelled else "Difference from the reference"
        axes.set_xlabel(f"median milliseconds, batch {cases[0]['batch_size']}")
        axes.set_title(f"{measure} against latency; the area is the file's size")
        axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.45, -0.16), ncols=2, fontsize=9)
    return figure


def to_svg(figure: Figure) -> str:
    """Returns a plot as SVG text, with letters as outlines, so that it looks the same everywhere."""
    file = BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue().decode()


def _latency_axis(axes: Axes, cases: Sequence[Mapping[str, Any]], right: float) -> None:
    """Starts the axis at 0, or makes it logarithmic if the latencies differ too much."""
    medians = [case["figures"]["latency_ms"]["p50"] for case in cases]
    if max(medians) > _SPREAD * min(medians):
        axes.set_xscale("log")
        axes.set_xlim(min(medians) * 0.7, right * 1.15)
        plain_ticks(axes.xaxis)
    else:
        axes.set_xlim(0, right)


def plain_ticks(axis: Axis) -> None:
    """Labels a logarithmic axis with plain numbers."""
    axis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _colors(cases: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Returns a colour for each title, in the order of the report."""
    titles = dict.fromkeys(case["title"] for case in cases)
    return {title: COLORS[place % len(COLORS)] for place, title in enumerate(titles)}
