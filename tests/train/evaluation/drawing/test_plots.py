"""The plots: contents, margins, and readable, reproducible files."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import auc

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx_train.evaluation.drawing.plots import (
    plot_confusion,
    plot_curves,
    plot_reliability,
    plot_risk,
    plot_roc,
    save_plot,
)
from ctonnx_train.evaluation.fitting.decisions import decision_metrics
from ctonnx_train.evaluation.fitting.threshold import suspicious_metrics
from ctonnx_train.evaluation.statistics.metrics import ECE_BINS, evaluate

FOUR = ["adenocarcinoma", "large cell carcinoma", "normal", "squamous cell carcinoma"]
TITLE = "chest-ct-20260301-101010: validation images"


def predictions(classes: int, images: int = 60) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(classes)
    labels = np.arange(images) % classes
    probabilities = rng.dirichlet(np.ones(classes), images)
    probabilities[np.arange(images), labels] += 0.4
    return probabilities / probabilities.sum(axis=1, keepdims=True), labels


def roc(names: list[str], replicates: int = 20, title: str = TITLE) -> Figure:
    probabilities, labels = predictions(len(names))
    metrics = evaluate(probabilities, labels.tolist(), names, replicates=replicates)
    return plot_roc(probabilities, labels, names, metrics, title)


def risk(probabilities: NDArray[np.float64], labels: NDArray[np.int64], names: list[str]) -> dict[str, Any]:
    """Entries of an evaluation's document for a model whose first class is suspicious, from one half on."""
    point = OperatingPoint(positive=(names[0],), threshold=0.5, sensitivity=1.0, specificity=1.0)
    sets = PredictionSets(coverage=0.9, lowest=dict.fromkeys(names, 0.3), images=dict.fromkeys(names, 20))
    return {
        "suspicious": suspicious_metrics(point, probabilities, labels, names),
        "decisions": decision_metrics(probabilities, labels, names, point=point, sets=sets),
    }


def rows(count: int, head: int = 0, **values: float | None) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "phase": "head" if epoch <= head else "fine-tune",
            "train_loss": 1 / epoch,
            "valid_loss": 1.5 / epoch,
            "valid_accuracy": 0.5,
            "valid_balanced_accuracy": 0.4,
            "valid_macro_auroc": 0.7,
        }
        | values
        for epoch in range(1, count + 1)
    ]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def title_of(figure: Figure) -> str:
    return figure.get_suptitle()


def in_legend(holder: Axes | Figure) -> list[str]:
    legend = holder.get_legend() if isinstance(holder, Axes) else holder.legends[0]
    assert legend
    return [text.get_text().removeprefix("\N{ZERO WIDTH SPACE}") for text in legend.get_texts()]


def margins(figure: Figure, file: Path) -> list[int]:
    """White pixels at the left, the top, the right and the bottom of the saved plot."""
    save_plot(figure, file)
    with Image.open(file) as image:
        drawn = np.asarray(image.convert("L")) < 250
    down, across = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    height, width = drawn.shape
    return [int(across[0]), int(down[0]), int(width - 1 - across[-1]), int(height - 1 - down[-1])]


def test_the_confusion_matrix_shows_counts_and_shares_of_the_true_class() -> None:
    figure = plot_confusion([[3, 1], [0, 2]], ["benign", "malignant"], "run: test images")
    axes, bar = figure.axes
    assert texts(axes) == ["3\n75%", "1\n25%", "0\n0%", "2\n100%"]
    assert [text.get_position() for text in axes.texts] == [(0, 0), (1, 0), (0, 1), (1, 1)]  # x: predicted, y: true
    assert [label.get_text() for label in axes.get_xticklabels()] == ["benign", "malignant"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["benign", "malignant"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert (bar.get_ylabel(), title_of(figure)) == ("share of the true class", "run: test images")
    assert np.asarray(axes.images[0].get_array()).tolist() == [[0.75, 0.25], [0.0, 1.0]]


def test_a_cells_numbers_are_light_on_dark_and_dark_on_light() -> None:
    axes = plot_confusion([[9, 1], [1, 9]], ["a", "b"], "t").axes[0]
    assert [to_hex(text.get_color()) for text in axes.texts] == ["#ffffff", "#000000", "#000000", "#ffffff"]


def test_a_class_without_images_has_no_shares() -> None:
    assert texts(plot_confusion([[0, 0], [1, 1]], ["a", "b"], "t").axes[0]) == ["0", "0", "1\n50%", "1\n50%"]


def test_many_classes_have_a_matrix_without_numbers_that_is_not_ever_larger() -> None:
    twelve, many, hundred = (
        plot_confusion(np.eye(count, dtype=int).tolist(), [f"c {index}" for index in range(count)], "t")
        for count in (12, 13, 100)
    )
    assert (len(twelve.axes[0].texts), len(many.axes[0].texts)) == (144, 0)
    assert len(hundred.axes[0].get_xticklabels()) == 100
    assert hundred.get_figwidth() < 15


def test_the_roc_plot_has_a_curve_a_class_with_its_area() -> None:
    probabilities, labels = predictions(4)
    metrics = evaluate(probabilities, labels.tolist(), FOUR, replicates=20)
    figure = plot_roc(probabilities, labels, FOUR, metrics, TITLE)
    axes = figure.axes[0]
    diagonal, *curves = axes.lines
    assert np.array_equal(np.asarray(diagonal.get_xydata()), [[0, 0], [1, 1]])
    for curve, name in zip(curves, FOUR, strict=True):
        area = auc(np.asarray(curve.get_xdata(), float), np.asarray(curve.get_ydata(), float))
        assert area == pytest.approx(metrics["per_class"][name]["auroc"], abs=1e-5)
    expected = []
    for name in FOUR:
        low, high = metrics["intervals"]["per_class"][name]["auroc"]
        expected.append(f"{name}: {metrics['per_class'][name]['auroc']:.3f} [{low:.3f}, {high:.3f}]")
    assert in_legend(figure) == expected
    assert figure.legends[0].get_title().get_text() == "AUROC, one class against the rest [95%]"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("1 - specificity", "sensitivity")
    assert len({(to_hex(curve.get_color()), curve.get_linestyle()) for curve in curves}) == 4


def test_eleven_curves_are_distinguishable() -> None:
    figure = roc([f"organ {number}" for number in range(11)])
    styles = {(to_hex(curve.get_color()), curve.get_linestyle()) for curve in figure.axes[0].lines[1:]}
    assert len(styles) == 11


def test_without_intervals_the_roc_legend_has_only_the_areas() -> None:
    figure = roc(["a", "b"], replicates=0)
    assert figure.legends[0].get_title().get_text() == "AUROC, one class against the rest"
    assert all(len(label) == len("a: 0.123") for label in in_legend(figure))


def test_a_class_without_images_has_no_roc_curve_and_a_note() -> None:
    probabilities, labels = np.eye(3)[[0, 1, 0]], np.array([0, 1, 1])
    metrics = evaluate(probabilities, labels.tolist(), ["a", "b", "c"], replicates=0)
    figure = plot_roc(probabilities, labels, ["a", "b", "c"], metrics, "t")
    assert in_legend(figure)[2] == "c: not defined"
    assert [len(np.asarray(line.get_xdata())) for line in figure.axes[0].lines][-1] == 0


def test_the_risk_plot_ends_at_the_error_of_all_images_and_marks_what_the_model_decides() -> None:
    probabilities, labels = predictions(4)
    document = risk(probabilities, labels, FOUR)
    figure = plot_risk(probabilities, labels, FOUR, document, TITLE)
    classes, _, calls, _, dot = figure.axes[0].lines
    wrong = (probabilities.argmax(axis=1) != labels).mean()
    assert np.asarray(classes.get_xydata())[-1] == pytest.approx([1, wrong])
    called = (probabilities[:, 0].astype(np.float32) >= 0.5) != (labels == 0)
    assert np.asarray(calls.get_xydata())[-1] == pytest.approx([1, called.mean()])
    decisions = document["decisions"]
    ((share, error),) = np.asarray(dot.get_xydata())
    assert share == pytest.approx(1 - decisions["referred_share"], abs=1e-6)
    missed = [(1 - decisions[name]) * decisions[f"{name}_images"] for name in ("sensitivity", "specificity")]
    assert error == pytest.approx(sum(missed) / (60 - decisions["referred"]))
    assert 0 < decisions["referred"] < 60
    assert in_legend(figure) == [
        "class, the surest images first",
        "suspicious or not, the surest images first",
        f"decisions of this model: {share:.1%} decided",
    ]
    assert not figure.axes[0].texts
    faultless = plot_risk(np.eye(4)[labels], labels, FOUR, {"suspicious": None, "decisions": None}, TITLE)
    assert [text.get_text() for text in faultless.axes[0].texts] == ["no errors among 60 decided images"]
    alone = plot_risk(probabilities, labels, FOUR, {"suspicious": None, "decisions": None}, TITLE)
    assert in_legend(alone) == ["class, the surest images first"]


def test_the_reliability_diagram_shows_each_bins_accuracy_confidence_and_images() -> None:
    probabilities = np.array([[0.62, 0.38], [0.64, 0.36], [0.05, 0.95], [1.0, 0.0]])
    figure = plot_reliability(probabilities, np.array([0, 1, 1, 0]), 0.1234, "run: test images")
    top, bottom = figure.axes
    bars = {round(bar.get_x() + bar.get_width() / 2, 4): bar.get_height() for bar in top.patches}  # type: ignore[attr-defined]
    assert bars == {round(9.5 / ECE_BINS, 4): 0.5, round(14.5 / ECE_BINS, 4): 1.0}
    dots = np.asarray(top.lines[1].get_xydata(), float)
    np.testing.assert_allclose(dots, [[0.63, 0.5], [0.975, 1.0]])
    assert [bar.get_height() for bar in bottom.patches] == [0] * 9 + [2] + [0] * 4 + [2]  # type: ignore[attr-defined]
    assert title_of(figure) == "run: test images\nECE 0.123, 4 images"
    assert (top.get_ylabel(), bottom.get_ylabel()) == ("accuracy", "images")
    assert bottom.get_xlabel() == "confidence: probability of the predicted class"
    assert in_legend(figure) == ["mean confidence of the bin", "accuracy"]


def test_the_curves_show_the_losses_and_the_validation_metrics() -> None:
    figure = plot_curves(rows(4), "run", best_epoch=3)
    loss, accuracy = figure.axes
    assert in_legend(loss) == ["training", "validation", "best epoch: 3"]
    assert in_legend(accuracy) == ["accuracy", "balanced accuracy", "macro AUROC", "best epoch: 3"]
    np.testing.assert_allclose(np.asarray(loss.lines[0].get_xydata(), float), [(n, 1 / n) for n in range(1, 5)])
    np.testing.assert_allclose(np.asarray(loss.lines[1].get_ydata(), float), [1.5 / n for n in range(1, 5)])
    assert [float(np.asarray(line.get_ydata(), float)[0]) for line in accuracy.lines[:3]] == [0.5, 0.4, 0.7]
    assert list(np.asarray(loss.lines[2].get_xdata())) == [3, 3]
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("cross-entropy", "on the validation images")
    assert loss.get_ylim() == pytest.approx((0, 1.65))
    assert title_of(figure) == "run"


def test_phases_are_named_with_a_line_between_them() -> None:
    for axes in plot_curves(rows(10, head=4), "run").axes:
        assert [(text.get_text(), text.get_position()[0]) for text in axes.texts] == [("head", 2.5), ("fine-tune", 7.5)]
        assert list(np.asarray(axes.lines[-1].get_xdata())) == [4.5, 4.5]


def test_a_single_phase_is_not_marked() -> None:
    assert [texts(axes) for axes in plot_curves(rows(3), "run").axes] == [[], []]


def test_a_metric_that_is_not_defined_is_left_out_of_the_curves() -> None:
    figure = plot_curves(rows(3, valid_macro_auroc=None, valid_loss=None), "run")
    assert np.isnan(np.asarray(figure.axes[0].lines[1].get_ydata(), float)).all()
    assert np.isnan(np.asarray(figure.axes[1].lines[2].get_ydata(), float)).all()
    assert figure.axes[0].get_ylim() == pytest.approx((0, 1.1))


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 0.0])
def test_a_loss_that_is_nan_infinite_or_zero_can_be_drawn(loss: float, tmp_path: Path) -> None:
    save_plot(plot_curves(rows(2, train_loss=loss, valid_loss=loss), "run"), tmp_path / "curves.png")


@pytest.mark.parametrize("count", [1, 2])
def test_few_epochs_are_dots_with_whole_epochs_below(count: int) -> None:
    loss, accuracy = plot_curves(rows(count), "run", best_epoch=1).axes
    assert {line.get_marker() for line in (*loss.lines[:2], *accuracy.lines[:3])} == {"o"}
    low, high = loss.get_xlim()
    assert [tick for tick in loss.get_xticks() if low <= tick <= high] == list(range(1, count + 1))


@pytest.mark.parametrize(
    "names",
    [["benign", "malignant"], FOUR, [f"kidney number {number}" for number in range(11)], ["a" * 60, "b " * 40, "c"]],
    ids=["2", "4", "11", "long"],
)
@pytest.mark.parametrize("title", [TITLE, "a-long-name-of-a-run-" * 4 + ": test images"], ids=["title", "long title"])
def test_nothing_is_cut_off(names: list[str], title: str, tmp_path: Path) -> None:
    probabilities, labels = predictions(len(names))
    matrix = np.full((len(names), len(names)), 123).tolist()
    plots = [
        plot_confusion(matrix, names, title),
        roc(names, title=title),
        plot_reliability(probabilities, labels, 0.1, title),
        plot_risk(probabilities, labels, names, risk(probabilities, labels, names), title),
        plot_curves(rows(12, head=4), title, best_epoch=12),
    ]
    assert [min(margins(figure, tmp_path / "plot.png")) >= 3 for figure in plots] == [True] * 5


def test_names_with_dollars_underscores_and_undecodable_bytes_are_drawn_as_they_are(tmp_path: Path) -> None:
    names = ["a $x{ b$", "_b", "r\udcf6ntgen"]
    confusion = plot_confusion([[1, 0, 0]] * 3, names, "5$ and 6$")
    curves = roc(names, title="r\udcf6n")
    save_plot(confusion, tmp_path / "confusion.png")  # raises where a dollar begins a formula
    save_plot(curves, tmp_path / "roc.png")
    assert [label.partition(":")[0] for label in in_legend(curves)] == [r"a \$x{ b\$", "_b", r"r\udcf6ntgen"]
    assert title_of(confusion) == r"5\$ and 6\$"
    assert title_of(curves) == r"r\udcf6n"


def test_a_plot_is_a_png_of_300_dots_an_inch_and_always_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first.png", "again.png"):
        save_plot(roc(FOUR), tmp_path / name)
    first = (tmp_path / "first.png").read_bytes()
    assert (tmp_path / "again.png").read_bytes() == first
    with Image.open(BytesIO(first)) as image:
        image.load()
        assert image.format == "PNG"
        assert image.size == (1080, round((4.15 + 0.17 * 4) * 300))
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert "Software" not in image.info  # matplotlib's version


def test_plots_leave_the_settings_of_matplotlib_as_they_were() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plot_curves(rows(2), "run")
    roc(["a", "b"])
    assert dict(mpl.rcParams) == before


def test_names_in_any_script_are_drawn_without_a_warning_and_nothing_is_cut_off(tmp_path: Path) -> None:
    names = [
        "\u80ba\u764c",
        "\u6b63\u5e38\u306a\u80ba",
        "\ud3d0\uc554",
        "\U0001fac1 lung",
        "\xd6dem",
    ]  # a warning is an error here
    for figure in (
        plot_confusion(np.full((5, 5), 3).tolist(), names, "\u6d4b\u8bd5"),
        roc(names, title="\u6d4b\u8bd5"),
    ):
        assert min(margins(figure, tmp_path / "plot.png")) >= 3
    assert in_legend(roc(names))[4].startswith("\xd6dem: ")


def test_letters_that_no_font_has_are_their_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctonnx_train.evaluation.drawing.fonts.families", lambda: ("DejaVu Sans",))
    monkeypatch.setattr("ctonnx_train.evaluation.drawing.fonts._has_glyph", lambda letter: letter.isascii())
    axes = plot_confusion([[1, 0], [0, 1]], ["\u80ba\u764c", "lung"], "t").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [r"\u80ba\u764c", "lung"]
