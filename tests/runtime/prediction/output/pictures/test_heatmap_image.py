"""Heatmap pictures: position of the map, colours, and the text."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.images import Preprocessing
from ctonnx.prediction.output.pictures import heatmap_image
from ctonnx.prediction.output.pictures.heatmap_image import colors, draw, overlay_heatmap, save
from ctonnx.prediction.results import Prediction

CLASSES = ("normal", "tumor")
STRETCH = Preprocessing(size=64)
PAD = Preprocessing(size=64, resize="pad")


def heatmap(row: int, column: int, cells: int = 4) -> NDArray[np.float32]:
    """A map with one cell above zero."""
    values = np.zeros((cells, cells), np.float32)
    values[row, column] = 0.2
    return values


def prediction(values: NDArray[np.float32], **changes: Any) -> Prediction:
    settings: dict[str, Any] = {"source": "a.png", "probabilities": {"tumor": 0.75, "normal": 0.25}}
    return Prediction(
        **{
            **settings,
            "logits": np.zeros(2, np.float32),
            "heatmap": np.stack([np.zeros_like(values), values]),
            **changes,
        }
    )


def spec_of(point: OperatingPoint | None = None) -> ModelSpec:
    return ModelSpec(
        name="lungs",
        classes=CLASSES,
        preprocessing=STRETCH,
        precision="fp32",
        created="2026-01-02T03:04:05+00:00",
        checkpoint_sha256="ab" * 32,
        data={},
        synthetic=False,
        metrics={},
        parity={},
        versions={},
        operating_point=point,
    )


POINT = OperatingPoint(positive=("tumor",), threshold=0.9985, sensitivity=1.0, specificity=1.0)


def words_of(monkeypatch: pytest.MonkeyPatch, scan: Image.Image, answer: Prediction, spec: ModelSpec) -> list[str]:
    """Draws a picture and returns its text, line by line."""
    written: list[str] = []
    for kept in (heatmap_image._small_text, heatmap_image._scale):
        kept.cache_clear()
    original = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, place: Any, words: str, *arguments: Any, **options: Any) -> None:
        written.append(words)
        original(self, place, words, *arguments, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    picture = draw(scan, answer, spec)
    assert max(ImageFont.load_default(13).getlength(line) for line in written[2:]) <= picture.width - 32
    return written


@pytest.mark.parametrize("size", [(400, 400), (400, 100), (100, 400)])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 3), (3, 0), (2, 1)])
def test_stretched_map_covers_the_whole_scan(size: tuple[int, int], row: int, column: int) -> None:
    laid = overlay_heatmap(heatmap(row, column), size, STRETCH)
    assert laid.shape == size[::-1]
    y, x = np.unravel_index(laid.argmax(), laid.shape)
    assert int(y) * 4 // size[1] == row
    assert int(x) * 4 // size[0] == column
    assert laid.max() == pytest.approx(1, abs=0.05)
    assert laid.min() >= 0


def test_padded_map_covers_the_square_around_the_scan() -> None:
    wide = overlay_heatmap(heatmap(1, 3), (400, 200), PAD)  # the square's rows 0 and 3 are black bars
    assert wide.shape == (200, 400)
    y, x = np.unravel_index(wide.argmax(), wide.shape)
    assert (int(y) * 2 // 200, int(x) * 4 // 400) == (0, 3)
    tall = overlay_heatmap(heatmap(3, 2), (200, 400), PAD)
    y, x = np.unravel_index(tall.argmax(), tall.shape)
    assert (int(y) * 4 // 400, int(x) * 2 // 200) == (3, 1)


def test_map_of_a_cropped_scan_covers_the_part_that_the_model_saw() -> None:
    for preprocessing in (STRETCH, PAD):
        laid = overlay_heatmap(heatmap(1, 1), (400, 400), preprocessing, (0.5, 0.25, 1.0, 0.75))
        assert laid.shape == (400, 400)
        outside = np.ones_like(laid, bool)
        outside[100:300, 200:] = False
        assert not laid[outside].any()
        y, x = np.unravel_index(laid.argmax(), laid.shape)
        assert (int(y) * 4 // 200 - 2, int(x) * 4 // 200 - 4) == (1, 1)
    assert overlay_heatmap(heatmap(0, 0), (3, 3), STRETCH, (0.999, 0.999, 1.0, 1.0)).shape == (3, 3)


def test_picture_finds_the_part_that_the_model_saw() -> None:
    body = np.zeros((512, 512), np.uint8)
    body[256:, 128:384] = 200
    spec = replace(spec_of(), preprocessing=replace(spec_of().preprocessing, crop="body"))
    values = np.ones((4, 4), np.float32)
    drawn = np.asarray(draw(Image.fromarray(body), prediction(values), spec))
    given = np.asarray(draw(Image.fromarray(body), prediction(values), spec, (0.25, 0.5, 0.75, 1.0)))
    panel = drawn[112:624, 544:1056].astype(int)
    assert (panel[:250] == 0).all()
    assert (panel[262:, 140:370, 0] > panel[262:, 140:370, 2]).all()
    assert np.abs(drawn.astype(int) - given).mean() < 1


def test_empty_map_stays_empty() -> None:
    assert not overlay_heatmap(np.zeros((4, 4), np.float32), (50, 40), STRETCH).any()


def test_colours_get_lighter_all_the_way() -> None:
    ramp = colors(np.linspace(0, 1, 101, dtype=np.float32))
    assert ramp.shape == (101, 3)
    lightness = ramp @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()
    assert ramp[0].tolist() == [0, 0, 4]
    assert ramp[-1].tolist() == [252, 255, 164]


def test_picture_shows_the_scan_and_the_scan_under_its_map() -> None:
    scan = Image.fromarray(np.full((512, 512), 100, np.uint8))
    picture = np.asarray(draw(scan, prediction(heatmap(0, 0)), spec_of()))
    left, right = picture[112:624, 16:528], picture[112:624, 544:1056]
    assert (left == 100).all()
    assert right[:100, :100, 0].mean() > 150  # bright where the map is at its peak
    assert (right[300:, 300:] == 100).all()  # and the scan itself where the map is zero
    bar = picture[112:624, 1080]
    assert bar[0].sum() > bar[256].sum() > bar[-1].sum()


def test_picture_has_file_model_verdict_and_legend(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    answer = prediction(heatmap(0, 0), source="scans/a.dcm#3", frame=2, decision="negative", score=0.9978)
    words = words_of(monkeypatch, scan, answer, spec_of(POINT))
    assert words[:4] == [
        "tumor  0.7500",
        "Not suspicious: score 0.9978, threshold 0.9985",
        "File: scans/a.dcm, frame 3",
        "Model: lungs, fp32, trained 2026-01-02, checkpoint abababababab",
    ]
    assert words[4:7] == ["1.0", "0.5", "0.0"]
    assert " ".join(words[7:]) == (
        "Colour: evidence for tumor (Grad-CAM), relative to its maximum. The heatmap is coarse: 4 x 4 cells, drawn "
        "smoothly; details smaller than a cell are not resolved. Score: the probability of tumor. A research tool, not "
        "a medical device."
    )


@pytest.mark.parametrize(
    ("score", "decision", "message"),
    [
        (0.9985, "positive", "Suspicious: score 0.9985, threshold 0.9985"),
        (0.99849, "negative", "Not suspicious: score 0.99849, threshold 0.99850"),
        (0.9984999, "negative", "Not suspicious: score 0.9984999, threshold 0.9985000"),
    ],
)
def test_score_has_the_digits_that_distinguish_it_from_its_threshold(
    score: float, decision: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    answer = prediction(heatmap(0, 0), decision=decision, score=score)
    assert words_of(monkeypatch, scan, answer, spec_of(POINT))[1] == message


def test_picture_of_a_referred_image_has_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    answer = prediction(heatmap(0, 0), decision="refer", reason="the image is blank", score=0.5)
    words = words_of(monkeypatch, scan, answer, spec_of(POINT))
    assert words[1] == "Refer: score 0.5000, threshold 0.9985"
    assert any(line.startswith("Reason to refer: the image is blank. Colour: ") for line in words)


def test_picture_states_that_the_model_has_no_operating_point(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    words = words_of(monkeypatch, scan, prediction(heatmap(0, 0)), spec_of())
    assert words[1] == "This model has no operating point"
    assert "Score" not in " ".join(words)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("größe.png", "gr\\xf6\\xdfe.png"),
        ("\u80ba\U0001fac1.png", "\\u80ba\\U0001fac1.png"),  # for which the font has no glyphs
        ("a\nb\udcff\x1b.png", "a\\nb\\udcff\\x1b.png"),
    ],
)
def test_name_of_a_file_is_drawn_in_ascii(source: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    assert words_of(monkeypatch, scan, prediction(heatmap(0, 0), source=source), spec_of())[2] == f"File: {shown}"


def test_long_name_is_shortened_from_the_left(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    answer = prediction(heatmap(0, 0), source=f"{'folder/' * 60}scan 12.png")
    line = words_of(monkeypatch, scan, answer, spec_of())[2]
    assert line.startswith("File: ...")
    assert line.endswith("/folder/scan 12.png")


@pytest.mark.parametrize("letters", ["i", "W", "folder/"])
def test_name_is_cut_to_the_longest_end_that_has_room(letters: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    source = letters * 400 + "1.png"
    picture = draw(scan, prediction(heatmap(0, 0), source=source), spec_of())
    line = words_of(monkeypatch, scan, prediction(heatmap(0, 0), source=source), spec_of())[2]
    end = line.removeprefix("File: ...")
    assert source.endswith(end)
    longer = f"File: ...{source[-len(end) - 1 :]}"
    assert ImageFont.load_default(13).getlength(longer) > picture.width - 32


def test_picture_is_saved_as_it_is(tmp_path: Path) -> None:
    picture = draw(Image.fromarray(np.full((64, 64), 100, np.uint8)), prediction(heatmap(0, 0)), spec_of())
    save(picture, tmp_path / "a.picture")
    with Image.open(tmp_path / "a.picture") as read:
        assert (read.format, read.tobytes()) == ("PNG", picture.tobytes())


def test_colours_of_a_picture_are_within_a_level_of_what_is_computed_in_full() -> None:
    """The map is blended in bytes: 0.6 of its colour at its maximum, none at zero."""
    scan = Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 512)).astype(np.uint8))
    values = np.random.default_rng(1).random((4, 4)).astype(np.float32)
    picture = np.asarray(draw(scan, prediction(values), spec_of()))[112:624, 544:1056].astype(float)
    heat = overlay_heatmap(values, (512, 512), STRETCH)[:, :, None]
    grey = np.asarray(scan, float)[:, :, None]
    assert np.abs(picture - (grey * (1 - 0.6 * heat) + colors(heat[:, :, 0]) * 0.6 * heat)).max() < 2.5


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3000, 10), (10, 3000), (168, 122)])
def test_scan_of_any_shape_is_drawn(width: int, height: int) -> None:
    scan = Image.fromarray(np.full((height, width), 100, np.uint8))
    picture = draw(scan, prediction(heatmap(0, 0)), spec_of())
    assert picture.width >= 600  # room for the words under it
    assert 112 + 256 < picture.height <= 740
    panel = np.asarray(picture)[112 : 112 + 256, 16 : 16 + 256]
    assert (panel == 100).any()
    assert (panel[0, 0] == 32).all() == (
        max(width, height) / min(width, height) > 2
    )  # what a strip leaves of its panel is its ground


def test_predicted_class_gives_the_map() -> None:
    scan = Image.fromarray(np.full((64, 64), 100, np.uint8))
    maps = np.stack([heatmap(0, 0), heatmap(3, 3)])
    one = draw(scan, prediction(maps[0], heatmap=maps), spec_of())
    other = draw(scan, prediction(maps[0], heatmap=maps, probabilities={"normal": 0.75, "tumor": 0.25}), spec_of())
    right = (slice(112, 624), slice(544, 1056))
    brighter = np.asarray(one)[right].astype(int).sum(axis=2) - np.asarray(other)[right].astype(int).sum(axis=2)
    assert brighter[:50, :50].mean() < 0 < brighter[-50:, -50:].mean()
