"""The plot of the stress test: a row for each change, and the strength that it holds until."""

from pathlib import Path

import numpy as np
from PIL import Image
from tests.train.stress.made import document, strength

from ctonnx_train.evaluation.drawing.plots import save_plot
from ctonnx_train.stress.plot import plot_stress


def test_each_change_has_a_row_with_its_strengths_and_how_far_it_may_go(tmp_path: Path) -> None:
    figure = plot_stress(document(), "made: test images")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "lower contrast",
        "JPEG",
        "padded",
        "inverted: a mistake,\nto be referred: only flips count",
    ]
    assert [text.get_text() for text in axes.texts] == [
        "x 0.6",
        "quality 75",
        "none",
        "none",
        "5% or less up to",
    ]
    drawn = [line for line in axes.lines if line.get_marker() in ("o", "s", "D")]
    changed, flipped = (
        [float(np.atleast_1d(line.get_xdata())[0]) for line in drawn if line.get_fillstyle() == style]
        for style in ("full", "none")
    )
    assert changed == [0, 0.05, 0.47, 0.01, 0.08, 0.3, 0.09, 0.01, 0.2]
    assert flipped == [0, 0.05, 0.4, 0.01, 0.06, 0.3, 0.09, 0.01, 0.2, 1.0]
    save_plot(figure, tmp_path / "stress.png")
    with Image.open(tmp_path / "stress.png") as image:
        assert image.size[0] > 1500


def test_all_points_are_shares_of_the_scans_decided_before() -> None:
    made = document(("JPEG", [strength("quality 75", 5, 5, decided=20)]), referred=80)
    (axes,) = plot_stress(made, "made: test images").figure.axes
    drawn = [line for line in axes.lines if line.get_marker() == "o"]
    assert [float(np.atleast_1d(line.get_xdata())[0]) for line in drawn] == [0.25, 0.5]
    assert "of 20 decided scans (" in axes.get_xlabel()


def test_without_a_decision_there_is_no_point_and_no_strength() -> None:
    made = document(("JPEG", [strength("quality 75", 0, decided=0)]), referred=100)
    (axes,) = plot_stress(made, "made: test images").figure.axes
    assert [line for line in axes.lines if line.get_marker() == "o"] == []
    assert axes.texts[0].get_text() == "-"
