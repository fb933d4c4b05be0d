"""The picture of a comparison: a part for each quantity, and its bars."""

from xml.dom import minidom

import numpy as np
from tests.runtime.server.monitoring.test_drift import found, images

from ctonnx.server.monitoring.drift_plot import draw


def test_plot_has_a_part_for_each_quantity() -> None:
    random = np.random.default_rng(6)
    result = found(images(80, random), images(200, random, grey=120.0))
    text = draw(result, "<model>")
    document = minidom.parseString(text)  # noqa: S318  made here
    shown = " ".join(node.firstChild.data for node in document.getElementsByTagName("text"))  # type: ignore[union-attr]
    for name in ("class", "decision", "score", "percentile of the novelty", "mean grey, 0 to 255", "width x height"):
        assert name in shown
    assert shown.count("differs") == len(result.alarms) > 0
    assert "<model>: 2026-12-01 to 2026-12-01" in shown
    bars = [node for node in document.getElementsByTagName("rect") if node.getAttribute("fill") == "#0b6bcb"]
    assert len(bars) == 1 + sum(len(one.bins) for one in result.comparisons)


def test_categories_beyond_the_first_are_named_as_a_number() -> None:
    random = np.random.default_rng(7)
    before = images(80, random)
    now = [image | {"size": f"{number % 40}x512"} for number, image in enumerate(images(200, random))]
    assert "and 9 more</text>" in draw(found(before, now), "m")  # 40 and 512x512, of which 32 have bars
