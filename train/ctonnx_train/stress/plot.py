"""Plot of the stress test: how many decisions each change alters, and at which strength they are too many."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from ctonnx.system.text import counted
from ctonnx_train.evaluation.drawing.plots import COLORS, GREY, plot_style, set_title
from ctonnx_train.stress.gate import decided_before, holds_until
from ctonnx_train.stress.report import FEW

__all__ = ["plot_stress"]

_NAMES = ("mild", "middle", "strong")
_MARKERS = ("o", "s", "D")
_SHADES = (COLORS[5], COLORS[0], COLORS[6])
_MARKER: dict[str, Any] = {"markersize": 4, "clip_on": False, "zorder": 3}
_GAP = 0.6  # rows between the changes and the mistakes
_TICKS = (0, 0.01, 0.05, 0.2, 0.5, 1)


def plot_stress(document: Mapping[str, Any], title: str) -> Figure:
    """Draws the share of altered decisions of each change and strength, with intervals, and where 5 % are passed.

    The flips among them are hollow. A change that is a mistake, which a model should refer, comes last: of it there are
    only the flips. All are shares of the images that were decided before the change.
    """
    decides, images = document["decided_by"]["operating_point"], decided_before(document)
    changes = [transform for transform in document["transforms"] if transform["judged_by"] != "flipped"]
    mistakes = [transform for transform in document["transforms"] if transform["judged_by"] == "flipped"]
    transforms = [*changes, *mistakes]
    rows = [*range(len(changes)), *(number + _GAP for number in range(len(changes), len(transforms)))]
    names = [
        *(transform["title"] for transform in changes),
        *(f"{transform['title']}: a mistake,\nto be referred: only flips count" for transform in mistakes),
    ]
    with plot_style():
        figure = Figure(figsize=(7.0, 1.5 + 0.3 * len(transforms)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvspan(0, FEW, color=COLORS[2], alpha=0.13, linewidth=0)
        axes.axvline(FEW, color=COLORS[2], linewidth=0.8)
        if mistakes:
            axes.axhline(len(changes) - 0.5 + _GAP / 2, color=GREY, linewidth=0.6, linestyle=(0, (4, 3)))
        for row, transform in zip(rows, transforms, strict=True):
            steps, kind = transform["strengths"], transform["judged_by"]
            for step, of in enumerate(steps):
                if of[kind]["share"] is None:
                    continue
                share, (low, high) = of[kind]["share"], of[kind]["interval"]
                place = row + 0.24 * (step - (len(steps) - 1) / 2)
                color = _SHADES[step]
                axes.plot([low, high], [place, place], color=color, linewidth=0.9, alpha=0.6)
                if kind == "decision_changed":
                    axes.plot(
                        [of["flipped"]["share"]], [place], _MARKERS[step], color=color, fillstyle="none", **_MARKER
                    )
                fill: Any = "none" if kind == "flipped" else "full"
                axes.plot([share], [place], _MARKERS[step], color=color, fillstyle=fill, **_MARKER)
            found = holds_until(transform, FEW)
            text = "-" if not images else "none" if found is None else found["shown"]
            strong = found is None
            axes.text(
                1.03,
                row,
                text,
                transform=axes.get_yaxis_transform(),
                va="center",
                fontsize=8,
                color=COLORS[1] if strong else "black",
                fontweight="bold" if strong else "normal",
            )
        axes.text(1.03, -1, f"{FEW:.0%} or less up to", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
        axes.set_yticks(rows, names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(rows[-1] + 0.6, -0.6)
        axes.grid(axis="y", color=GREY, alpha=0.15)
        axes.set_xscale("function", functions=(_root, np.square))
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_locator(FixedLocator(_TICKS))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        what = "decisions changed (hollow: flipped)" if decides else "predicted classes changed"
        of_images = counted(images, "decided scan" if decides else "scan")
        axes.set_xlabel(f"{what}, of {of_images} (lines: 95 % intervals)")
        handles = [
            Line2D([], [], color=color, marker=marker, markersize=4, linewidth=0.9, label=name)
            for color, marker, name in zip(_SHADES, _MARKERS, _NAMES, strict=True)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        set_title(figure, title)
    return figure


def _root(values: Any) -> Any:
    return np.sqrt(np.maximum(values, 0))
