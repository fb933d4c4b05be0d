"""The plot of a family: every model can be seen and read."""

import itertools
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from PIL import Image
from tests.benchmarks.benchmark.family.conftest import MODELS

from ctonnx_bench.benchmark.family.document import mark_front
from ctonnx_bench.benchmark.family.plot import plot_family, to_png

Make = Callable[..., dict[str, Any]]


def labels_of(axes: Axes) -> dict[str, Annotation]:
    found = [text for text in axes.texts if isinstance(text, Annotation) and text.get_text()]
    return {text.get_text().partition("\n")[0]: text for text in found}


def discs_of(axes: Axes) -> list[Any]:
    return [found for found in axes.collections if found.get_zorder() == 5]


def test_panel_for_each_batch_size_has_a_labelled_disc_for_each_model(family_document: dict[str, Any]) -> None:
    figure = plot_family(family_document)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Batch 1", "Batch 8"]
    for axes in figure.axes:
        assert axes.get_ylabel() == "accuracy, 62 images (test)"
        assert axes.get_xscale() == "log"
        assert list(labels_of(axes)) == [title for title, *_ in MODELS]
        heights = [float(disc.get_offsets()[0][1]) for disc in discs_of(axes)]
        assert heights == [right / 62 for *_, right in MODELS]
    assert labels_of(figure.axes[0])["pruned INT8"].get_text() == "pruned INT8\n8.00 ms, 11 MB"


@pytest.mark.parametrize("is_labelled", [True, False])
@pytest.mark.parametrize("same", [False, True])
def test_labels_cover_neither_each_other_nor_a_disc_nor_the_edge(
    make_family_document: Make, is_labelled: bool, same: bool
) -> None:
    models = [(title, ms, size, 45 if same else right) for title, ms, size, right in MODELS]
    for axes in plot_family(make_family_document(models, is_labelled=is_labelled)).axes:
        boxes = [text.get_window_extent() for text in labels_of(axes).values()]
        assert len(boxes) == len(models)
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        places = [axes.transData.transform(disc.get_offsets()[0]) for disc in discs_of(axes)]
        assert not any(box.contains(*place) for box, place in itertools.product(boxes, places))
        edges = axes.get_window_extent()
        assert all(edges.x0 <= box.x0 and box.x1 <= edges.x1 for box in boxes)


def test_models_of_the_same_latency_and_accuracy_are_side_by_side(make_family_document: Make) -> None:
    axes = plot_family(make_family_document([(title, ms, size, 45) for title, ms, size, _ in MODELS])).axes[0]
    across = [axes.transData.transform(disc.get_offsets()[0])[0] * 72 / 100 for disc in discs_of(axes)]  # points
    assert across[3] - across[2] >= 10 - 1e-6
    latencies = [float(disc.get_offsets()[0][0]) for disc in discs_of(axes)]
    np.testing.assert_allclose(latencies, [ms for _, ms, *_ in MODELS], rtol=0.05)


def test_intervals_are_error_bars(family_document: dict[str, Any]) -> None:
    axes = plot_family(family_document).axes[0]
    bars = [found.get_segments()[0] for found in axes.collections if hasattr(found, "get_segments")]
    ends = [(float(bar[0][1]), float(bar[1][1])) for bar in bars]
    assert ends == [(case["accuracy"]["low"], case["accuracy"]["high"]) for case in family_document["cases"][:6]]


def test_area_is_the_size_of_the_file(family_document: dict[str, Any]) -> None:
    areas = [float(disc.get_sizes()[0]) for disc in discs_of(plot_family(family_document).axes[0])]
    np.testing.assert_allclose(np.array(areas) / areas[0], [size / 102 for _, _, size, _ in MODELS])


def test_front_is_a_line_and_dominated_models_are_lighter(family_document: dict[str, Any]) -> None:
    axes = plot_family(family_document).axes[0]
    (line,) = axes.lines
    assert line.get_drawstyle() == "steps-post"
    np.testing.assert_allclose(np.asarray(line.get_ydata()), [45 / 62, 46 / 62])  # pruned INT8, INT8 learned
    for place, disc in enumerate(discs_of(axes)):
        is_bright = min(disc.get_facecolor()[0][:3]) < 0.5
        assert is_bright == (place in (3, 5)), MODELS[place]


def test_wrong_model_is_hollow_labelled_and_not_on_the_front(family_document: dict[str, Any]) -> None:
    family_document["cases"][5]["failures"] = ["max |dp| is 1"]
    family_document["cases"] = mark_front(family_document["cases"])
    axes = plot_family(family_document).axes[0]
    assert "pruned INT8 (wrong)" in labels_of(axes)
    assert discs_of(axes)[5].get_facecolor()[0].tolist() == [1, 1, 1, 1]
    (line,) = axes.lines
    assert len(np.asarray(line.get_xdata())) == 1


def test_without_labels_the_height_is_the_size(make_family_document: Make) -> None:
    axes = plot_family(make_family_document(is_labelled=False)).axes[0]
    assert axes.get_ylabel() == "size of the file, MB"
    assert [float(disc.get_offsets()[0][1]) for disc in discs_of(axes)] == [size for _, _, size, _ in MODELS]


def test_values_of_small_models_have_another_digit(make_family_document: Make) -> None:
    axes = plot_family(make_family_document([("a", 0.344, 1.5, 40), ("b", 12.0, 15, 41)])).axes[0]
    assert [text.get_text() for text in labels_of(axes).values()] == ["a\n0.34 ms, 1.5 MB", "b\n12.0 ms, 15 MB"]


def test_similar_latencies_have_a_linear_axis_from_0(make_family_document: Make) -> None:
    axes = plot_family(make_family_document([("a", 10.0, 5, 40), ("b", 12.0, 5, 41)])).axes[0]
    assert (axes.get_xscale(), axes.get_xlim()[0]) == ("linear", 0)


def test_unreliable_models_are_marked_and_special_letters_are_drawn_as_they_are(make_family_document: Make) -> None:
    document = make_family_document([("$a_b$", 10.0, 5, 40), ("bad\udcff 肺", 40.0, 5, 41)])
    document["cases"][0]["doubts"] = ["noisy: the range is 20%"]
    figure = plot_family(document)
    first, second = labels_of(figure.axes[0])
    assert first == "$a_b$ ~"
    assert second.startswith(r"bad\udcff ")
    assert to_png(figure)


def test_png_is_as_wide_as_a_page_and_the_same_each_time(family_document: dict[str, Any]) -> None:
    first, second = (to_png(plot_family(family_document)) for _ in range(2))
    assert first == second
    with Image.open(BytesIO(first)) as image:
        assert image.width == 1720
