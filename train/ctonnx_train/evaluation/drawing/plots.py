"""Plots of a report, as wide as a paper's column: confusion matrix, ROC, reliability, risk and coverage, curves."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain, groupby
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from ctonnx.system.text import counted, escape_undecodable
from ctonnx_train.evaluation.drawing.fonts import columns, drawable, families
from ctonnx_train.evaluation.fitting.decisions import decision_confidence, risk_coverage
from ctonnx_train.evaluation.statistics.metrics import ECE_BINS

__all__ = [
    "COLORS",
    "GREY",
    "plot_confusion",
    "plot_curves",
    "plot_reliability",
    "plot_risk",
    "plot_roc",
    "plot_style",
    "save_plot",
    "set_title",
]

# Okabe and Ito 2008, https://jfly.uni-koeln.de/color: distinguishable with any kind of colour vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", "-.", ":")
GREY = "#777777"
_NUMBERED = 12  # largest number of classes for which a confusion matrix shows numbers
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 2.6,
    "savefig.dpi": 300,
}


def plot_style(**more: Any) -> Any:
    """Returns the settings of a plot, with the installed fonts."""
    return mpl.rc_context(_STYLE | {"font.family": list(families())} | more)


def save_plot(figure: Figure, file: Path) -> None:
    """Writes a plot as PNG at 300 dots per inch."""
    with plot_style():
        figure.savefig(file, format="png", metadata={"Software": None})


def plot_confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> Figure:
    """Draws a confusion matrix (a row per true class, a column per predicted one), shaded by the row's shares."""
    counts = np.asarray(matrix)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    cell = 0.5 if len(classes) <= _NUMBERED else max(_NUMBERED * 0.5 / len(classes), 0.12)
    names = [_plain(name, 24) for name in classes]
    label = 0.07 * max(columns(line) for name in names for line in name.splitlines())
    with plot_style(**{"axes.spines.left": False, "axes.spines.bottom": False}):
        matrix_side = max(1.3, cell * len(classes))
        figure = Figure(figsize=(matrix_side + label + 1.5, matrix_side + 0.7 * label + 0.9), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        size = min(9.0, 60 * cell)
        turn = 35 if len(classes) <= _NUMBERED else 90
        axes.set_xticks(range(len(classes)), names, rotation=turn, ha="right", rotation_mode="anchor", fontsize=size)
        axes.set_yticks(range(len(classes)), names, fontsize=size)
        axes.set(xlabel="predicted", ylabel="true")
        axes.tick_params(length=0)
        if len(classes) <= _NUMBERED:
            for row, column in np.ndindex(counts.shape):
                color = "white" if shares[row, column] > 0.55 else "black"
                text = f"{counts[row, column]}\n{shares[row, column]:.0%}" if totals[row, 0] else "0"
                axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
        bar = figure.colorbar(image, ax=axes, shrink=0.8, format=PercentFormatter(1, decimals=0))
        bar.set_label("share of the true class")
        bar.outline.set_visible(False)
        set_title(figure, title)
    return figure


def plot_roc(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: Sequence[str],
    metrics: Mapping[str, Any],
    title: str,
) -> Figure:
    """Draws the ROC curve of each class against the rest, with its AUROC and interval in the legend.

    The probabilities are [images, classes], the metrics those of
    `ctonnx_train.evaluation.statistics.metrics.evaluate` for them.
    """
    with plot_style():
        lines = sum(len(_plain(name, 24).splitlines()) for name in classes)
        figure = Figure(figsize=(3.6, 4.15 + 0.17 * lines), layout="constrained")
        axes = figure.add_subplot()
        level = f" [{metrics['bootstrap']['level']:.0%}]" if "bootstrap" in metrics else ""
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
        for index, name in enumerate(classes):
            area = metrics["per_class"][name]["auroc"]
            # A legend omits labels that begin with an underscore.
            shown_name = "\N{ZERO WIDTH SPACE}" + _plain(name, 24)
            if area is None:
                axes.plot([], [], color="none", label=f"{shown_name}: not defined")
                continue
            scores = probabilities[:, index]
            false_positives, true_positives, _ = roc_curve(labels == index, scores, drop_intermediate=False)
            interval = metrics.get("intervals", {}).get("per_class", {}).get(name, {}).get("auroc")
            shown = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
            color, line = COLORS[index % len(COLORS)], _LINES[index % len(_LINES)]
            label = f"{shown_name}: {area:.3f}{shown}"
            axes.plot(false_positives, true_positives, color=color, linestyle=line, linewidth=1.4, label=label)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set_aspect("equal", anchor="N")
        heading = f"AUROC, one class against the rest{level}"
        figure.legend(loc="outside lower center", title=heading, title_fontsize=8)
        set_title(figure, title)
    return figure


def plot_reliability(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], ece: float, title: str
) -> Figure:
    """Draws accuracy against confidence, with the images in each bin; probabilities are [images, classes]."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    counts = np.bincount(bins, minlength=ECE_BINS)
    filled = counts > 0
    accuracy = np.bincount(bins, right, ECE_BINS)[filled] / counts[filled]
    mean = np.bincount(bins, confidence, ECE_BINS)[filled] / counts[filled]
    centers = (np.arange(ECE_BINS) + 0.5) / ECE_BINS
    with plot_style():
        figure = Figure(figsize=(3.6, 4.4), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
        top.bar(centers[filled], accuracy, width=0.9 / ECE_BINS, color=COLORS[5], label="accuracy")
        dots = {"color": COLORS[0], "markersize": 3.5, "clip_on": False, "zorder": 3}
        top.plot(mean, accuracy, "o", label="mean confidence of the bin", **dots)
        top.set(ylabel="accuracy", ylim=(0, 1.02))
        figure.legend(loc="outside lower center", ncols=2)
        bottom.bar(centers, counts, width=0.9 / ECE_BINS, color=GREY)
        bottom.set(xlabel="confidence: probability of the predicted class", ylabel="images", xlim=(0, 1))
        bottom.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        set_title(figure, f"{title}\nECE {ece:.3f}, {counted(len(labels), 'image')}")
    return figure


def plot_risk(
    probabilities: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    classes: Sequence[str],
    document: Mapping[str, Any],
    title: str,
) -> Figure:
    """Draws the error among the images that are decided against the share that is, the surest ones first.

    Two curves, for the predicted class and for the call of the operating point, and a point for what the model decides
    by its rule. The probabilities are [images, classes]; `document` has an evaluation's `suspicious` and `decisions`.
    """
    suspicious, decisions = document.get("suspicious"), document.get("decisions")
    curves = {"class": risk_coverage(probabilities.max(axis=1), probabilities.argmax(axis=1) != labels)}
    if suspicious is not None:
        point = suspicious["positive"], suspicious["threshold"]
        curves["suspicious or not"] = risk_coverage(*decision_confidence(probabilities, labels, classes, *point))
    with plot_style():
        figure = Figure(figsize=(3.6, 3.9), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, (decided, error)) in enumerate(curves.items()):
            look: dict[str, Any] = {"color": COLORS[number], "linestyle": _LINES[number], "linewidth": 1.4}
            axes.step(decided, error, where="post", label=f"{name}, the surest images first", **look)
            axes.plot(decided[-1:], error[-1:], ".", color=COLORS[number], clip_on=False)
        if decisions is not None and (decided_images := decisions["images"] - decisions["referred"]):
            wrong = sum(
                (1 - decisions[name]) * decisions[f"{name}_images"]
                for name in ("sensitivity", "specificity")
                if decisions[name] is not None
            )
            share = decided_images / decisions["images"]
            label = f"decisions of this model: {share:.1%} decided"
            dot: dict[str, Any] = {
                "color": COLORS[2],
                "markersize": 7,
                "clip_on": False,
                "zorder": 3,
                "linestyle": "none",
            }
            axes.plot([share], [wrong / decided_images], marker="D", label=label, **dot)
        highest = max(float(error.max()) for _, error in curves.values())
        if not highest:  # the curves lie on the axis
            text = f"no errors among {counted(len(labels), 'decided image')}"
            axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)
        axes.set(xlabel="share of the images that is decided", ylabel="error among them", xlim=(0, 1.02))
        axes.set_ylim(0, max(1.1 * highest, 0.05))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        figure.legend(loc="outside lower center")
        set_title(figure, title)
    return figure


def plot_curves(rows: Sequence[Mapping[str, Any]], title: str, *, best_epoch: int | None = None) -> Figure:
    """Draws losses and validation metrics over the epochs (rows of metrics.csv), with the phases marked."""
    epochs = [row["epoch"] for row in rows]
    names = ("accuracy", "balanced_accuracy", "macro_auroc")
    with plot_style():
        figure = Figure(figsize=(7.0, 3.2), layout="constrained")
        loss, accuracy = figure.subplots(1, 2)
        marker = "o" if len(rows) < 3 else ""
        losses = {"training": _column(rows, "train_loss"), "validation": _column(rows, "valid_loss")}
        for number, (label, values) in enumerate(losses.items()):
            loss.plot(epochs, values, color=COLORS[number], linestyle=_LINES[number], marker=marker, label=label)
        highest = max((value for value in chain(*losses.values()) if math.isfinite(value)), default=0.0)
        loss.set(xlabel="epoch", ylabel="cross-entropy", ylim=(0, 1.1 * highest or 1))
        loss.yaxis.set_major_formatter("{x:.2f}")  # of constant width for any ticks that the layout chooses
        for number, name in enumerate(names):
            label, values = name.replace("_", " ").replace("auroc", "AUROC"), _column(rows, f"valid_{name}")
            color, line = COLORS[1 + number], _LINES[number]
            accuracy.plot(epochs, values, color=color, linestyle=line, marker=marker, label=label)
        accuracy.set(xlabel="epoch", ylabel="on the validation images", ylim=(0, 1.02))
        for axes in (loss, accuracy):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
            _mark_phases(axes, rows)
            if best_epoch:
                axes.axvline(best_epoch, color=GREY, linewidth=0.8, zorder=0, label=f"best epoch: {best_epoch}")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        set_title(figure, title)
    return figure


def _mark_phases(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Labels each phase and draws lines between them, unless there is only one."""
    phases = [(name, list(part)) for name, part in groupby(rows, key=lambda row: row["phase"])]
    if len(phases) < 2:
        return
    for position, (name, part) in enumerate(phases):
        first, last = part[0]["epoch"], part[-1]["epoch"]
        if position:
            axes.axvline(first - 0.5, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
        middle, transform = (first + last) / 2, axes.get_xaxis_transform()
        axes.text(middle, 1.01, name, transform=transform, ha="center", va="bottom", color=GREY, fontsize=8)


def set_title(figure: Figure, title: str) -> None:
    """Sets the title of the whole figure, wrapped to its width."""
    width = int(12 * figure.get_figwidth())  # letters of 10 points per inch
    figure.suptitle("\n".join(_plain(line, width) for line in title.splitlines()), fontsize=10)


def _plain(text: str, width: int | None = None) -> str:
    """Returns a name to draw: dollars and letters that cannot be drawn are escaped, lines are wrapped."""
    readable = drawable(escape_undecodable(text))
    return (fill(readable, width) if width else readable).replace("$", r"\$")


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [math.nan if row[name] is None else float(row[name]) for row in rows]
