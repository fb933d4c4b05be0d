"""Every plot shows its values, and is left out without them."""

from typing import Any

import numpy as np
import pytest

from ctonnx_bench.gpu.report.plots import PLOTS, draw


@pytest.mark.parametrize("name", PLOTS)
def test_plot_is_left_out_without_its_values(name: str, document: dict[str, Any]) -> None:
    assert draw(name, {**document, "steps": []}) is None
    others = [step for step in document["steps"] if step["step"] == "facts"]
    assert (draw(name, {**document, "steps": others}) is None) == (name != "gpu-steps")


def test_every_step_has_a_bar_in_the_colour_of_its_state(document: dict[str, Any]) -> None:
    figure = draw("gpu-steps", document)
    assert figure is not None
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][3] == "folder step"
    assert len({bar.get_facecolor() for bar in axes.patches}) == 4
    assert [text.get_text() for text in axes.texts] == ["11 s", "160 s", "120 s, failed", "70 s, cut", "0 s, left out"]


def test_training_has_its_rate_and_the_share_of_the_data(document: dict[str, Any]) -> None:
    figure = draw("gpu-training", document)
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].texts][1] == "1100; data 3.4%"


def test_latency_has_a_line_for_each_network_and_transfer(document: dict[str, Any]) -> None:
    figure = draw("gpu-latency", document)
    assert figure is not None
    lines = [line for line in figure.axes[0].lines if np.size(line.get_xdata())]
    assert len(lines) == 4
    assert sorted(line.get_linestyle() for line in lines) == ["-", "-", "-", "--"]
    assert np.asarray(lines[0].get_ydata())[0] == 2.0  # milliseconds per image at batch 1


def test_settings_are_multiples_of_the_default_and_those_that_do_not_run_are_missing(document: dict[str, Any]) -> None:
    figure = draw("gpu-settings", document)
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].texts] == ["1.00", "0.60", "0.90"] * 2


def test_use_of_the_gpu_is_drawn_over_time(document: dict[str, Any]) -> None:
    figure = draw("gpu-use", document)
    assert figure is not None
    [line] = figure.axes[0].lines
    assert np.asarray(line.get_ydata()).tolist() == [0.0, 0.9, 0.95, 0.4]
