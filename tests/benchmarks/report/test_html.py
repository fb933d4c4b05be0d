"""The page is self-contained, and names are escaped."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from ctonnx_bench.report.html import html_page


class Reader(HTMLParser):
    """Collects the tags, and checks that they are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.cells = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.cells += tag == "td"
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_complete_and_self_contained(document: dict[str, Any]) -> None:
    text = html_page(document)
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert reader.cells == 6 * 18
    assert len(reader.sources) == 4  # accuracy, two distributions, batches
    assert all(source.startswith("data:image/svg+xml;base64,") for source in reader.sources)
    assert "<script" not in text
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", text)


@pytest.mark.usefixtures("no_plots")
def test_names_are_escaped(document: dict[str, Any]) -> None:
    text = html_page(document)
    assert "PyTorch &lt;eager&gt;" in text
    assert "<eager>" not in text


@pytest.mark.usefixtures("no_plots")
def test_verdict_is_at_the_top(document: dict[str, Any]) -> None:
    assert "all outputs of ctonnx are right" in html_page(document)
    assert "lungs on cpu, 2 threads, 224 pixels, from pixels to the prediction; Some CPU" in html_page(document)
    document["cases"][0]["verdict"] = "reference"
    assert "the outputs agree with the reference" in html_page(document)
    document["cases"][0]["failures"] = ["max |dp| is 1"]
    text = html_page(document | {"passed": False})
    assert '<span class="verdict wrong">wrong outputs</span>' in text
    assert '<td class="wrong">FAILED</td>' in text


@pytest.mark.usefixtures("no_plots")
def test_outputs_that_are_not_shown_to_be_right_have_another_colour(document: dict[str, Any]) -> None:
    document["cases"][2]["verdict"] = "not shown"  # a peer's
    text = html_page(document)
    assert "all outputs of ctonnx are right" in text
    assert '<td class="unclear">not shown</td>' in text
    document["cases"][1]["verdict"] = "not shown"
    badge = "not all outputs of ctonnx are shown to be right: see the notes"
    assert f'<span class="verdict unclear">{badge}</span>' in html_page(document)
    assert '<span class="verdict wrong">wrong outputs</span>' in html_page(document | {"passed": False})


@pytest.mark.usefixtures("no_plots")
def test_page_explains_right(document: dict[str, Any]) -> None:
    assert "it does not mean a correct diagnosis.</p>" in html_page(document)


@pytest.mark.usefixtures("no_plots")
def test_unreliable_measurements_of_ctonnx_have_a_badge(document: dict[str, Any]) -> None:
    document["cases"][2]["doubts"] = ["busy: a peer"]
    assert "unreliable measurements" not in html_page(document)
    document["cases"][0]["doubts"] = ["busy: others"]
    assert '<span class="verdict unclear">unreliable measurements: see the notes</span>' in html_page(document)


def test_single_batch_size_has_no_plot_against_the_batch_size(document: dict[str, Any]) -> None:
    document["cases"] = [case for case in document["cases"] if case["batch_size"] == 1]
    assert html_page(document).count("<img") == 2
