"""The picture of a series: what it shows, and what it must not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tests.runtime.prediction.made_groups import SPEC, prediction
from tests.runtime.server.pacs.results.made_results import model_of, result_of

from ctonnx.server.pacs.results.document import SeriesResult
from ctonnx.server.pacs.results.picture import WARNING, draw_picture, explained_class

SCAN = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 3, (48, 1)))


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All text that is drawn."""
    found: list[str] = []
    original = ImageDraw.ImageDraw.text

    def text(self: Any, place: Any, text: str, *rest: Any, **options: Any) -> None:
        found.append(text)
        original(self, place, text, *rest, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return found


def test_picture_has_the_warning_the_model_the_decision_and_a_legend(positive: SeriesResult, texts: list[str]) -> None:
    drawn = draw_picture(positive, SCAN)
    assert (drawn.mode, drawn.width) == ("RGB", 1134)
    assert WARNING == "RESEARCH, NOT FOR DIAGNOSIS"
    whole = " ".join(texts)
    for part in (
        WARNING,
        "ctonnx, model lungs",
        "Positive",
        "Series: score 0.9000, operating point 0.5000; predicted class tumor 0.9000",
        "Slice with the highest score, image 2, 2.5 mm: score 0.9000",
        "Evidence for tumor (Grad-CAM)",
        "1.0",
        "0.0",
        "4 x 4 cells",
        "Score: the probability of tumor.",
        f"sha256 {'ab' * 8}",
        "A research tool, not a medical device.",
    ):
        assert part in whole, part


def test_picture_has_no_name_of_a_file_or_patient(positive: SeriesResult, texts: list[str]) -> None:
    draw_picture(positive, SCAN)
    whole = "\n".join(texts)
    words = ("Doe", "PID-", "2026", "1.2.826", ".dcm", *(one.source for one in positive.images))
    assert [word for word in words if word in whole] == []


def test_reason_and_failed_slices_are_drawn(positive: SeriesResult, texts: list[str]) -> None:
    referred = replace(positive.prediction, decision="refer", reason="a finding may be there", failed=2)
    draw_picture(replace(positive, prediction=referred), SCAN)
    whole = " ".join(texts)
    assert "Refer to a person" in texts
    assert "Reason to refer: a finding may be there." in whole
    assert "3 slices predicted, 2 could not be read." in whole


def test_heatmap_is_beside_the_plain_slice(positive: SeriesResult) -> None:
    drawn = np.asarray(draw_picture(positive, SCAN)).astype(int)
    left, right = drawn[146:658, 16:528], drawn[146:658, 544:1056]
    slice_rows = slice(64 + 4, 512 - 64 - 4)  # the scan is wider than high
    assert (left.max(axis=2) == left.min(axis=2))[slice_rows].all()
    assert (right.max(axis=2) - right.min(axis=2))[slice_rows].max() > 60
    assert (left[8] == 32).all()


def test_class_of_the_heatmap_is_suspicious_if_the_score_is(files: list[str]) -> None:
    model = model_of(replace(SPEC, operating_point=replace(model_of().rule.point, threshold=0.2)))
    found = result_of(files, (0.1, 0.3, 0.15), model)
    slice_ = prediction("a", 0.3)
    assert slice_.label == "normal"
    assert explained_class(slice_, found.prediction, model) == "tumor"
    negative = result_of(files, (0.1, 0.19, 0.15), model)
    assert explained_class(prediction("a", 0.19), negative.prediction, model) == "normal"


def test_empty_heatmap_is_stated_in_its_title(positive: SeriesResult, texts: list[str]) -> None:
    index, found = positive.prediction.strongest[0]
    empty = replace(found, heatmap=np.zeros_like(found.heatmap))
    title = np.asarray(draw_picture(positive, SCAN))[120:142, 544:1056]
    assert title.max(axis=2).max() > 200
    assert (title.max(axis=2) == title.min(axis=2)).all()  # grey
    drawn = draw_picture(replace(positive, prediction=replace(positive.prediction, strongest=((index, empty),))), SCAN)
    assert "The heatmap is empty." in " ".join(texts)
    assert "The heatmap is empty: no evidence for tumor (Grad-CAM)" in texts
    assert texts.count("Evidence for tumor (Grad-CAM)") == 1  # of the first picture
    assert (249, 170, 40) in {color for _, color in drawn.crop((544, 120, 1056, 142)).getcolors(10_000) or ()}


def test_long_name_of_a_class_does_not_leave_the_picture(positive: SeriesResult, texts: list[str]) -> None:
    long = replace(positive.prediction, probabilities={"n" * 120: 0.9})
    draw_picture(replace(positive, prediction=long), SCAN)
    assert "Series: score 0.9000, operating point 0.5000" in texts
