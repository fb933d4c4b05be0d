"""A decoded image is an array to NumPy, a source to `load`, and carries its warning."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctonnx.images import Preprocessing, load, load_frames, to_pixels
from ctonnx.images.scan import Scan
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Prediction

GREY = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
COLOUR = Image.merge("RGB", [GREY] * 3)


@pytest.mark.parametrize("image", [GREY, COLOUR])
def test_scan_is_the_array_of_its_image(image: Image.Image) -> None:
    scan = Scan(image)
    assert (scan.size, scan.mode, scan.caution) == ((4, 3), image.mode, None)
    np.testing.assert_array_equal(np.asarray(scan), np.asarray(image))
    assert np.asarray(scan).dtype == np.uint8
    assert np.asarray(scan, np.float32).dtype == np.float32


def test_array_that_is_copied_can_be_written_to() -> None:
    array = np.array(Scan(GREY))
    array[0, 0] = 200
    assert np.asarray(GREY)[0, 0] == 0


def test_scan_that_is_loaded_keeps_its_warning() -> None:
    scan = Scan(GREY.point(lambda value: value + 90), "a localizer")
    assert load(scan) is scan
    assert list(load_frames(scan)) == [(None, scan)]


def test_pixels_of_a_scan_are_those_of_its_image() -> None:
    for preprocessing in (Preprocessing(size=32), Preprocessing(size=32, color="rgb", resize="pad")):
        np.testing.assert_array_equal(to_pixels(Scan(COLOUR), preprocessing), to_pixels(COLOUR, preprocessing))


def test_prediction_of_a_scan_has_its_warning(model: Path) -> None:
    with Predictor(model) as predictor:
        (record,) = predictor.predict_many([Scan(GREY.point(lambda value: value + 90), "a localizer")])
    assert isinstance(record, Prediction)
    assert (record.source, record.caution) == ("image in memory", "a localizer")


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (300, 517), (900, 20)])
def test_mean_grey_of_one_value(size: tuple[int, int]) -> None:
    assert Scan(Image.new("L", size, 93)).mean_grey() == 93
    assert Scan(Image.new("RGB", size, (93, 93, 93))).mean_grey() == 93


def test_mean_grey_of_a_part() -> None:
    image = Image.new("L", (200, 100))
    image.paste(80, (50, 20, 150, 70))
    assert Scan(image).mean_grey() == pytest.approx(20, abs=1)
    assert Scan(image).mean_grey((0.25, 0.2, 0.75, 0.7)) == 80


def test_mean_grey_is_close_to_the_mean_of_all_pixels() -> None:
    few = np.random.default_rng(0).uniform(0, 255, (9, 12)).astype(np.uint8)
    image = Image.fromarray(few).resize((480, 360), Image.Resampling.BILINEAR)
    assert Scan(image).mean_grey() == pytest.approx(np.asarray(image).mean(), abs=1)
