"""The plots show the measurements of the report."""

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from ctonnx_bench.report.charts import plot_batches, plot_distribution, plot_tradeoff, to_svg


def of_batch(document: dict[str, Any], size: int) -> list[dict[str, Any]]:
    return [case for case in document["cases"] if case["batch_size"] == size]


def test_distribution_has_a_row_for_each_case_the_fastest_on_top(document: dict[str, Any]) -> None:
    (axes,) = plot_distribution(of_batch(document, 1)).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["PyTorch <eager>", "ctonnx FP32", "ctonnx INT8"]
    assert [text.get_text() for text in axes.texts] == ["60.0", "36.0", "13.0"]
    assert axes.get_xlim()[0] == 0
    assert axes.get_xscale() == "linear"
    assert np.shape(axes.collections[0].get_offsets())[0] == 303


def test_very_different_latencies_have_a_logarithmic_axis(document: dict[str, Any]) -> None:
    cases = of_batch(document, 1)
    cases[1]["figures"]["latency_ms"]["p50"] = 1.0
    assert plot_distribution(cases).axes[0].get_xscale() == "log"


def test_latency_per_image_is_drawn_against_the_batch_size(document: dict[str, Any]) -> None:
    (axes,) = plot_batches(document["cases"]).axes
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines}
    assert set(lines) == {"ctonnx FP32", "ctonnx INT8", "PyTorch <eager>"}
    np.testing.assert_allclose(lines["ctonnx INT8"], [13.0, 13 * 8**0.9 / 8])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "8"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_unreliable_cases_are_marked_in_every_plot(document: dict[str, Any]) -> None:
    document["cases"][1]["doubts"] = ["noisy: the range is 20%"]
    assert "ctonnx INT8 ~" in [
        label.get_text() for label in plot_distribution(of_batch(document, 1)).axes[0].get_yticklabels()
    ]
    assert "ctonnx INT8 ~" in [line.get_label() for line in plot_batches(document["cases"]).axes[0].lines]
    legend = plot_tradeoff(of_batch(document, 1), "PyTorch").axes[0].get_legend()
    assert legend is not None
    assert legend.get_texts()[1].get_text().startswith("ctonnx INT8 ~: ")


def test_tradeoff_has_the_difference_without_labels_and_areas_by_size(document: dict[str, Any]) -> None:
    document["cases"][0]["parity"]["max_dp"] = 0.0
    figure = plot_tradeoff(of_batch(document, 1), "PyTorch, as kept in golden.npz")
    (axes,) = figure.axes
    assert axes.get_ylabel() == "max |dp| from PyTorch"
    assert axes.get_yscale() == "log"
    assert axes.get_ylim() == pytest.approx((0.16, 1e-8 / 8))
    areas = [collection.get_sizes()[0] for collection in axes.collections[::2]]  # type: ignore[attr-defined]
    np.testing.assert_allclose(areas[1] / areas[0], 28.5 / 98.4)
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_texts()[1].get_text() == "ctonnx INT8: 13.0 ms, max |dp| 2.0e-02, 28 MB"


def test_tradeoff_has_accuracy_with_intervals_with_labels(document: dict[str, Any]) -> None:
    cases = of_batch(document, 1)
    for case in cases:
        case["accuracy"] = {"images": 72, "value": 0.85, "low": 0.75, "high": 0.91}
    (axes,) = plot_tradeoff(cases, "PyTorch").axes
    assert axes.get_ylabel() == "accuracy on 72 images, 95 % interval"
    assert axes.get_ylim() == (0.7, 1.0)


def test_wrong_case_is_hollow_and_labelled_as_wrong(document: dict[str, Any]) -> None:
    cases = of_batch(document, 1)
    cases[1]["failures"] = ["max |dp| is 1"]
    legend = plot_tradeoff(cases, "PyTorch").axes[0].get_legend()
    assert legend is not None
    assert legend.get_texts()[1].get_text().endswith(", wrong")


def test_case_that_is_not_shown_to_be_right_has_a_dotted_edge_and_a_label(document: dict[str, Any]) -> None:
    cases = of_batch(document, 1)
    cases[1]["verdict"] = "not shown"
    (axes,) = plot_tradeoff(cases, "PyTorch").axes
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_texts()[1].get_text().endswith(", not shown")
    areas = axes.collections[::2]
    dashes: list[Any] = [area.get_linestyle() for area in areas]
    assert [line[0][1] is None for line in dashes] == [True, False, True]
    assert len(areas[1].get_facecolor()) == 0
    assert "ctonnx INT8 (not shown)" in [
        label.get_text() for label in plot_distribution(cases).axes[0].get_yticklabels()
    ]


def test_batches_show_wrong_and_not_shown_cases(document: dict[str, Any]) -> None:
    document["cases"][1]["verdict"] = "not shown"
    document["cases"][5]["failures"] = ["max |dp| is 1"]
    (axes,) = plot_batches(document["cases"]).axes
    lines = {str(line.get_label()): line.get_linestyle() for line in axes.lines}
    assert lines == {"ctonnx FP32": "-", "ctonnx INT8 (not shown)": ":", "PyTorch <eager> (wrong)": "--"}


def test_svg_is_well_formed_and_the_same_each_time(document: dict[str, Any]) -> None:
    first, second = (to_svg(plot_batches(document["cases"])) for _ in range(2))
    assert first == second
    assert ElementTree.fromstring(first).tag.endswith("svg")  # noqa: S314  our own text
