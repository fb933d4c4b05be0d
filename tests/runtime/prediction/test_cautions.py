"""Warnings about images are reported with the prediction and are not errors."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctonnx.artifacts.decision.brightness import BrightnessRange
from ctonnx.images import Preprocessing, load, to_pixels
from ctonnx.prediction.cautions import Impression, brightness_of, caution_of
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Prediction

BLANK = "the image is blank: one value everywhere"
_DOT = np.full((64, 96), 200, np.uint8)
_DOT[40:48, 8:16] = 0


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("color", ["grey", "rgb"])
@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (96, 64)), BLANK),
        (Image.new("L", (96, 64), 200), BLANK),
        (Image.new("RGB", (64, 96), (200, 0, 90)), BLANK),
        (Image.new("L", (1, 1), 7), BLANK),
        (Image.merge("LA", [Image.fromarray(_DOT), Image.new("L", (96, 64))]), BLANK),
        (Image.new("F", (40, 30), 3.5), BLANK),
        (Image.fromarray(_DOT), None),
        (Image.fromarray(_DOT.T.copy()), None),
        (Image.linear_gradient("L"), None),
    ],
    ids=["black", "grey", "colour", "a pixel", "transparent", "float", "a dot", "a dot, upright", "gradient"],
)
def test_image_of_one_value_is_blank(image: Image.Image, expected: str | None, color: Any, resize: Any) -> None:
    preprocessing = Preprocessing(size=64, color=color, resize=resize)
    loaded = load(image)
    assert caution_of(loaded, to_pixels(loaded, preprocessing), preprocessing, None) == expected


@pytest.mark.parametrize("intensity", ["as-is", "normalize"])
@pytest.mark.parametrize(
    ("grey", "expected"),
    [
        (0, BLANK),
        (16, "far darker than the images that the model was fitted on: mean grey 16 of 255, theirs 33 to 186"),
        (30, None),
        (230, "far brighter than the images that the model was fitted on: mean grey 230 of 255, theirs 33 to 186"),
    ],
)
def test_image_far_darker_or_brighter_than_the_training_images(grey: int, expected: str | None, intensity: Any) -> None:
    values = np.full((90, 120, 3), grey, np.uint8)
    values[::2] += np.uint8(min(grey, 20))
    values[1::2] -= np.uint8(min(grey, 20))
    scan, preprocessing = load(Image.fromarray(values)), Preprocessing(size=64, intensity=intensity)
    known = BrightnessRange(low=33, high=186, images=613)
    assert caution_of(scan, to_pixels(scan, preprocessing), preprocessing, known) == expected


def test_brightness_is_that_of_the_part_that_the_model_is_given() -> None:
    """A body of mean grey 120 in a wide black margin: the margin does not make it dark once it is cropped."""
    values = np.zeros((200, 300), np.uint8)
    values[60:140, 100:200] = np.where(np.indices((80, 100)).sum(0) % 2, 110, 130)
    scan, known = load(Image.fromarray(values)), BrightnessRange(low=100, high=140, images=99)
    whole, cropped = Preprocessing(size=64), Preprocessing(size=64, crop="body")
    assert "far darker" in str(caution_of(scan, to_pixels(scan, whole), whole, known))
    assert caution_of(scan, to_pixels(scan, cropped), cropped, known) is None


def test_images_with_a_warning_of_their_own_do_not_widen_the_range() -> None:
    found = brightness_of([Impression(None, 60.0), Impression("blank", None), Impression("a localizer", 3.0)])
    assert found == BrightnessRange(low=60, high=60, images=1)
    assert brightness_of([Impression("blank", None)]) is None


def test_prediction_of_a_blank_image_has_its_caution(model: Path) -> None:
    blank, scan = Image.new("L", (64, 64), 90), Image.fromarray(_DOT // 2)
    with Predictor(model) as predictor:
        records = list(predictor.predict_many([blank, scan]))
        assert predictor.predict(blank).caution == BLANK
    assert all(isinstance(record, Prediction) for record in records)
    assert [record.as_dict()["caution"] for record in records] == [BLANK, None]
    assert [record.as_dict()["error"] for record in records] == [None, None]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (["ORIGINAL", "PRIMARY", "LOCALIZER"], "a localizer (scout), not a slice"),
        (["ORIGINAL", "PRIMARY", "AXIAL"], None),
        ("", None),
    ],
)
def test_localizer_of_a_ct_has_its_caution(kind: Any, expected: str | None, model: Path) -> None:
    pytest.importorskip("pydicom", reason="pydicom is not installed")
    from tests.runtime.images.dicom.dicom_files import encoded, make

    scan = encoded(make(np.full((64, 64), -1000, np.int16) + _DOT.astype(np.int16)[:, :64], ImageType=kind))
    with Predictor(model) as predictor:
        (record,) = predictor.predict_many([scan])
        assert record.as_dict()["caution"] == expected
        assert predictor.predict(scan).caution == expected


@pytest.mark.parametrize(
    ("modality", "expected"),
    [
        ("CT", None),
        (None, None),
        ("MR", "not a CT: its modality is MR"),
        ("JANE DOE", "not a CT: its modality is another"),
    ],
)
def test_dicom_of_another_modality_has_its_caution(modality: str | None, expected: str | None) -> None:
    pytest.importorskip("pydicom", reason="pydicom is not installed")
    from tests.runtime.images.dicom.dicom_files import encoded, make

    assert load(encoded(make(Modality=modality))).caution == expected


@pytest.mark.parametrize(("kind", "frames"), [("TIFF", 2), ("GIF", 2), ("PNG", 2), ("TIFF", 1), ("GIF", 1)])
def test_first_of_several_pages_has_its_caution(kind: str, frames: int) -> None:
    pages = [Image.fromarray(np.full((20, 30), 50 * number, np.uint8)) for number in range(1, frames + 1)]
    file = io.BytesIO()
    pages[0].save(file, kind, save_all=True, append_images=pages[1:])
    expected = "only the first of several pages was read" if frames > 1 else None
    assert load(file.getvalue()).caution == expected


def test_text_in_a_file_is_not_a_caution(tmp_path: Path) -> None:
    from PIL import PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("caution", "a word of somebody else")
    Image.fromarray(_DOT).save(tmp_path / "scan.png", pnginfo=text)
    image = load(tmp_path / "scan.png")
    assert caution_of(image, to_pixels(image, Preprocessing()), Preprocessing(), None) is None
