"""Pixels of an image: resized like torchvision, padded, grey or colour."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from ctonnx.errors import ImageError
from ctonnx.images import Preprocessing, to_pixels
from ctonnx.images.preprocessing import Color, Intensity
from ctonnx.prediction import predictor as predictor_module
from ctonnx.prediction import streaming
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Failure, Prediction


def colours(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8))


def scan_like(low: float, high: float) -> Image.Image:
    """Returns a smooth image with grey values from `low` to `high`."""
    rows, columns = np.mgrid[0:90, 0:120] / 30
    waves = (np.sin(rows) * np.cos(columns) + 1) / 2
    return Image.fromarray((low + waves * (high - low)).round().astype(np.uint8))


@pytest.mark.parametrize(("low", "high"), [(0, 255), (40, 120), (100, 255), (0, 60)])
def test_normalized_intensity_does_not_depend_on_contrast_and_brightness(low: float, high: float) -> None:
    how = Preprocessing(size=64, intensity="normalize")
    expected, found = (to_pixels(image, how).astype(int) for image in (scan_like(0, 255), scan_like(low, high)))
    assert (found.min(), found.max()) == (0, 255)
    assert np.abs(found - expected).max() <= 6


def test_normalized_intensity_leaves_out_the_padding_and_half_a_percent_at_either_end() -> None:
    grey = np.repeat(np.arange(50, 150, dtype=np.uint8), 200).reshape(100, 200)
    grey[0, :90] = 255  # fewer than 0.5 %: a letter
    how = Preprocessing(size=200, resize="pad", intensity="normalize")
    pixels = to_pixels(Image.fromarray(grey), how)[:, :, 0]
    assert not pixels[:50].any()
    assert not pixels[150:].any()
    assert (pixels[50, :90] == 255).all()
    table = [round((level - 50) * 255 / 99) for level in range(50, 150)]
    assert pixels[51:150, 100].tolist() == table[1:]


@pytest.mark.parametrize("values", [(7, 7), (100, 106)])
def test_a_blank_image_keeps_its_grey_values(values: tuple[int, int]) -> None:
    image = Image.fromarray(np.resize(np.array(values, np.uint8), (64, 64)))
    expected = to_pixels(image, Preprocessing(size=64))
    np.testing.assert_array_equal(to_pixels(image, Preprocessing(size=64, intensity="normalize")), expected)


def test_normalized_colours_keep_their_order() -> None:
    image = Image.merge("RGB", [scan_like(low, low + 60) for low in (20, 40, 60)])
    pixels = to_pixels(image, Preprocessing(size=64, color="rgb", intensity="normalize")).astype(int)
    assert (np.diff(pixels, axis=2) >= 0).all()
    assert pixels.max() == 255


@pytest.mark.parametrize("intensity", ["as-is", "normalize"])
@pytest.mark.parametrize("levels", [(0, 255), (40, 120), (90, 95)])
def test_the_documented_program_makes_the_same_pixels(
    levels: tuple[float, float], intensity: Intensity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines from the file to the input, in docs/reference/model-file.md."""
    text = (Path(__file__).parents[3] / "docs/reference/model-file.md").read_text(encoding="utf-8")
    lines = re.search(r"^grey = .*?^pixels = .*?$", text, re.MULTILINE | re.DOTALL)
    assert lines is not None
    monkeypatch.chdir(tmp_path)
    scan_like(*levels).save("scan.png")
    spec = {"preprocessing": {"intensity": intensity}}
    names: dict[str, Any] = {"np": np, "Image": Image, "size": 64, "spec": spec}
    exec(lines[0], names)  # noqa: S102
    expected = to_pixels(scan_like(*levels), Preprocessing(size=64, intensity=intensity))
    np.testing.assert_array_equal(names["pixels"], expected[None])


@pytest.mark.parametrize("size", [32, 57, 224])
@pytest.mark.parametrize(("height", "width"), [(20, 31), (224, 224), (301, 203), (33, 400), (1, 1)])
@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_stretched_pixels_are_those_of_torchvision(color: Color, height: int, width: int, size: int) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    image = colours(height, width).convert("L" if color == "grey" else "RGB")
    resized = np.asarray(
        functional.resize(image, [size, size], interpolation=InterpolationMode.BILINEAR, antialias=True)
    )
    found = to_pixels(image, Preprocessing(size=size, color=color))
    assert (found.dtype.name, found.shape) == ("uint8", (size, size, 3))
    np.testing.assert_array_equal(found, resized[:, :, None].repeat(3, axis=2) if color == "grey" else resized)


def test_halved_edge_is_antialiased() -> None:
    edge = np.zeros((64, 64), np.uint8)
    edge[:, 32:] = 255
    found = to_pixels(Image.fromarray(edge), Preprocessing(size=32))
    # the triangle filter's weights for a halving are 1, 3, 3, 1 eighths: 1/8 and 7/8 of 255 next to the edge
    assert found[16, :, 0].tolist() == [0] * 15 + [32, 223] + [255] * 15


def test_grey_is_the_luma_of_a_colour_image_in_all_channels() -> None:
    found = to_pixels(Image.new("RGB", (8, 8), (255, 0, 0)), Preprocessing(size=32))
    assert np.unique(found).tolist() == [76]  # 0.299 * 255


def test_rgb_keeps_the_order_of_the_channels() -> None:
    found = to_pixels(Image.new("RGB", (8, 8), (3, 2, 1)), Preprocessing(size=32, color="rgb"))
    assert np.unique(found.reshape(-1, 3), axis=0).tolist() == [[3, 2, 1]]


@pytest.mark.parametrize("color", ["grey", "rgb"])
@pytest.mark.parametrize(
    ("width", "height", "column", "line"),
    [
        (64, 32, [255] * 32, [0] * 8 + [255] * 16 + [0] * 8),
        (16, 64, [0] * 12 + [255] * 8 + [0] * 12, [255] * 32),
        (32, 11, [255] * 32, [0] * 10 + [255] * 11 + [0] * 11),
        (80, 80, [255] * 32, [255] * 32),
    ],
    ids=["wide", "tall", "an odd rest", "square"],
)
def test_pad_keeps_the_aspect_and_centres_on_black(
    width: int, height: int, column: list[int], line: list[int], color: Color
) -> None:
    found = to_pixels(Image.new("L", (width, height), 255), Preprocessing(size=32, color=color, resize="pad"))
    assert found.shape == (32, 32, 3)
    for channel in range(3):
        assert found[16, :, channel].tolist() == column
        assert found[:, 16, channel].tolist() == line


@pytest.mark.parametrize(("width", "height"), [(64, 32), (33, 77), (301, 203), (32, 32), (100, 99), (5, 3)])
@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_padded_pixels_are_those_of_pillow(width: int, height: int, color: Color) -> None:
    image = colours(height, width).convert("L" if color == "grey" else "RGB")
    expected = ImageOps.pad(image, (57, 57), Image.Resampling.BILINEAR).convert("RGB")
    found = to_pixels(image, Preprocessing(size=57, color=color, resize="pad"))
    np.testing.assert_array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("color", ["grey", "rgb"])
@pytest.mark.parametrize(("width", "height"), [(1000, 1), (1, 1000), (100_000, 2)])
def test_line_is_padded_to_a_line(width: int, height: int, color: Color) -> None:
    found = to_pixels(Image.new("L", (width, height), 200), Preprocessing(size=32, color=color, resize="pad"))
    line = found if width > height else found.transpose(1, 0, 2)
    assert (line[16] == 200).all()
    assert (found == 200).sum() == 3 * 32


def test_line_has_its_prediction_if_the_model_pads(model: Path) -> None:
    with Predictor(model) as predictor:
        padding = replace(predictor.spec.preprocessing, resize="pad")
        predictor.spec = replace(predictor.spec, preprocessing=padding)
        wide, tall = np.full((1, 1000), 200, np.uint8), np.full((1000, 1), 200, np.uint8)
        records = list(predictor.predict_many([wide, tall]))
        assert [type(record) for record in records] == [Prediction, Prediction]
        assert predictor.predict(wide).probabilities == pytest.approx(dict(records[0].as_dict()["probabilities"]))


def test_grey_image_becomes_the_same_colours_before_and_after_the_resize() -> None:
    image = colours(301, 203).convert("L")
    for preprocessing in (Preprocessing(size=57, color="rgb"), Preprocessing(size=57, color="rgb", resize="pad")):
        np.testing.assert_array_equal(to_pixels(image, preprocessing), to_pixels(image.convert("RGB"), preprocessing))


@pytest.mark.parametrize("at", ["to_pixels", "load_frames"])
def test_image_too_large_for_memory_is_a_failure(at: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise MemoryError

    with Predictor(model) as predictor:
        monkeypatch.setattr(streaming, at, fail)
        (record,) = predictor.predict_many([np.zeros((4, 4), np.uint8)])
    assert record == Failure("array", "too large for the memory of this machine; make it smaller")


@pytest.mark.parametrize("at", ["to_pixels", "load"])
def test_single_image_too_large_for_memory_is_an_error(at: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise MemoryError

    with Predictor(model) as predictor:
        monkeypatch.setattr(predictor_module, at, fail)
        with pytest.raises(ImageError, match=r"^array: too large for the memory of this machine; make it smaller$"):
            predictor.predict(np.zeros((4, 4), np.uint8))


@pytest.mark.parametrize("size", [31, 0, -224, 4097, 64.0, "224", None, True])
def test_size_out_of_range_is_rejected(size: Any) -> None:
    message = f"size must be a whole number from 32 to 4096 pixels, found {size!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Preprocessing(size=size)


@pytest.mark.parametrize("size", [32, 4096])
def test_minimum_and_maximum_size_are_accepted(size: int) -> None:
    assert Preprocessing(size=size).size == size


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"color": "gray"}, "color must be one of ('grey', 'rgb'), found 'gray'"),
        ({"crop": "lung"}, "crop must be one of ('none', 'body'), found 'lung'"),
        ({"resize": "crop"}, "resize must be one of ('stretch', 'pad'), found 'crop'"),
        ({"intensity": "auto"}, "intensity must be one of ('as-is', 'normalize'), found 'auto'"),
    ],
)
def test_unknown_rule_is_rejected(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Preprocessing(**values)
