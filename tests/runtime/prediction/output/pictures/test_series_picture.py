"""Picture of a group: curve, threshold, badges, slices and text."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tests.runtime.prediction.made_groups import POINT, SPEC, predicted, prediction, with_rule

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.prediction.output.pictures.series_picture import draw_group, ticks
from ctonnx.prediction.results import Prediction
from ctonnx.prediction.series.choice import LeftOut
from ctonnx.prediction.series.reduction import GroupPrediction, GroupRule

BUMP = [0.1, 0.2, 0.9, 0.7, 0.2, 0.1]
ORANGE = (249, 140, 10)


def draw(found: GroupPrediction, spec: ModelSpec, size: tuple[int, int] = (80, 60)) -> Image.Image:
    rule = GroupRule.of(spec)
    assert rule is not None
    grey = Image.fromarray(np.full(size[::-1], 90, np.uint8))
    return draw_group(found, [grey] * len(found.strongest), spec, rule)


def orange(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.abs(pixels.astype(int) - ORANGE).max(axis=2) < 40
    return found


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    written: list[str] = []
    original = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, place: Any, text: str, *arguments: Any, **options: Any) -> None:
        left, _, right, _ = self.textbbox(place, text, font=arguments[1], anchor=options["anchor"])
        assert left >= 0, text
        assert right <= self.im.size[0], text
        written.append(text)
        original(self, place, text, *arguments, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return written


def test_text_has_the_decision_the_counts_and_the_places(words: list[str]) -> None:
    spec = with_rule("top-k", 2)
    found = predicted(BUMP, spec, positions=True, left_out=(LeftOut("localizer", 2),))
    picture = draw(found, spec)
    assert (picture.mode, picture.width) == ("RGB", 1404)
    for line in (
        "Positive: score 0.8000, threshold 0.5000",
        "2 of 6 slices carried the score, 2 left out (localizer); predicted class tumor 0.8000",
        "Series: ab12",
        "threshold 0.5000",
        "position along the body (mm), towards the head",
        "-95.0 mm, score 0.9000, tumor",
        "-92.5 mm, score 0.7000, tumor",
        "evidence for tumor 0.7000",
        "3.dcm",
        "carried the score",
    ):
        assert line in words
    assert "flagged" not in words
    assert [word for word in words if word in ("1", "2", "3")] == ["1", "2", "3", "1", "1", "2", "3"]


def test_flagged_slices_and_the_reason_are_explained(words: list[str]) -> None:
    found = predicted([prediction("scans/1.dcm", 0.9, caution="blank"), 0.1], positions=False)
    draw(found, SPEC)
    text = " ".join(words)
    assert "Reason to refer: the slice that carried the score is flagged: blank." in text
    assert "Flagged: unlike the training images, or with a warning." in text
    assert "slice (in the order of the names)" in words


def test_curve_rises_above_the_threshold_where_the_strongest_slice_is() -> None:
    high = np.asarray(draw(predicted(BUMP), SPEC))[112 + 34 : 600, 16 + 52 : 640]
    low = np.asarray(draw(predicted([0.1] * 6), SPEC))[112 + 34 : 600, 16 + 52 : 640]
    above = slice(34, 200)  # rows between a score of 1 and the threshold's label
    is_orange = orange(high[above])
    assert 0.3 < np.flatnonzero(is_orange.any(axis=0)).mean() / is_orange.shape[1] < 0.6
    assert not orange(low[above]).any()


@pytest.mark.parametrize("score", [0.51, 0.53, 0.55])
def test_label_of_the_threshold_covers_nothing_of_the_curve(score: float, monkeypatch: pytest.MonkeyPatch) -> None:
    found = predicted([score] * 10, positions=True)
    labelled = np.asarray(draw(found, SPEC)).astype(int)
    original = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, place: Any, text: str, *arguments: Any, **options: Any) -> None:
        if text != "threshold 0.5000":
            original(self, place, text, *arguments, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    bare = np.asarray(draw(found, SPEC)).astype(int)
    rows, columns = np.nonzero((labelled != bare).any(axis=2))
    assert len(rows) > 100
    around = bare[rows.min() - 5 : rows.max() + 6, columns.min() - 5 : columns.max() + 6]
    assert (around == 16).all()  # the ground outside the axes


def test_long_label_of_the_threshold_is_in_the_picture(words: list[str]) -> None:
    spec = with_rule("max", threshold=float(np.nextafter(np.float32(0.5), 0)))
    draw(predicted([0.5, 0.1], spec), spec)
    assert any(word.startswith("threshold 0.49999997") for word in words)


def test_heatmap_is_that_of_the_most_probable_suspicious_class(words: list[str]) -> None:
    """The evidence for the most probable class, `normal`, is at the left, that for `large` at the right."""
    classes = ("normal", "small", "large")
    assert SPEC.operating_point is not None
    point = replace(SPEC.operating_point, positive=("small", "large"))
    spec = replace(SPEC, classes=classes, operating_point=point)
    heatmap = np.zeros((3, 4, 4), np.float32)
    heatmap[0, :, 0] = heatmap[1, 0] = heatmap[2, :, 3] = 1
    found = Prediction("scans/1.dcm", {"normal": 0.4, "large": 0.35, "small": 0.25}, np.zeros(3, np.float32), heatmap)
    other = replace(found, source="scans/2.dcm", heatmap=heatmap * np.array([[[1]], [[1]], [[0]]], np.float32))
    pixels = np.asarray(draw(predicted([found, other], spec), spec, (80, 80))).astype(int)
    assert words[0] == "Positive: score 0.6000, threshold 0.5000"
    assert words[1] == "1 of 2 slices carried the score; predicted class normal 0.4000"
    caption = words.index("1.dcm") - 2
    assert words[caption : caption + 2] == ["slice 1, score 0.6000, normal", "evidence for large 0.3500"]
    assert "empty heatmap of large 0.3500" in words
    left, top = 16 + 640 + 12, 112 + 232 + 12
    panel = pixels[top : top + 232, left : left + 232]
    assert panel[:, 200:, 0].min() > panel[:, :100, 0].max() + 60
    text = " ".join(words)
    assert "Heatmaps: evidence for each slice's most probable suspicious class (Grad-CAM)" in text


def test_long_names_of_classes_do_not_leave_the_picture(words: list[str]) -> None:
    spec = replace(SPEC, classes=("normal", "t" * 300), operating_point=replace(POINT, positive=("t" * 300,)))
    found = replace(prediction("scans/1.dcm", 0.9), probabilities={"t" * 300: 0.9, "normal": 0.1})
    draw(predicted([found], spec), spec)
    assert any(word.startswith("evidence for ttt") and word.endswith("...") for word in words)


def test_heatmap_is_only_on_the_lower_slices() -> None:
    pixels = np.asarray(draw(predicted(BUMP), SPEC)).astype(int)
    colored = np.abs(np.diff(pixels, axis=2)).max(axis=2) > 30
    left = 16 + 640 + 12
    assert not colored[112 + 24 : 112 + 232, left:].any()  # below the badge
    assert colored[112 + 232 + 12 : 112 + 2 * 232, left:].any()


@pytest.mark.parametrize("count", [1, 2, 200])
@pytest.mark.parametrize("size", [(500, 20), (20, 500), (1, 1)])
def test_any_number_of_slices_of_any_shape_is_drawn(count: int, size: tuple[int, int], words: list[str]) -> None:
    spec = with_rule("mean")
    draw(predicted([0.5] * count, spec, positions=True, name="n" * 400), spec, size)
    assert any(word.startswith("Series: ...") for word in words)


def test_equal_positions_are_drawn() -> None:
    found = predicted([0.4, 0.6])
    found.curve.places[:] = 3.0
    draw(found, SPEC)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (1, 3, [1, 1.5, 2, 2.5, 3]),
        (5, 5, [5]),
        (-1000, 1000, range(-1000, 1001, 500)),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(list(expected))
