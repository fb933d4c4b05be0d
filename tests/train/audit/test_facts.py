"""Facts of an image: those of the file, of grey values outside the middle, and of marks."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ctonnx.images import Preprocessing, load, to_pixels
from ctonnx.images.loading import load_with_origin
from ctonnx_train.audit.facts import DESCRIPTIVE, FACTS, acquisition, facts_of_input, image_facts, jpeg_quality


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def facts(image: Image.Image, file_format: str = "PNG", **options: Any) -> dict[str, float | str]:
    return image_facts(*load_with_origin(encoded(image, file_format, **options)))


def grey(values: NDArray[Any]) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8))


FLAT = np.full((120, 180), 100, np.uint8)


def test_facts_of_a_file() -> None:
    noise = grey(np.random.default_rng(0).integers(0, 256, (40, 60)))
    found = facts(noise)
    assert (found["width"], found["height"], found["aspect"]) == (60.0, 40.0, 1.5)
    assert (found["format"], found["mode"], found["bits"]) == ("PNG", "L", 8.0)
    assert found["bytes_per_pixel"] == len(encoded(noise)) / 2400
    assert "jpeg_quality" not in found
    assert facts(grey(FLAT).convert("I;16"))["bits"] == 16.0


@pytest.mark.parametrize("quality", [25, 50, 75, 95])
def test_quality_of_a_jpeg_file_is_that_of_its_tables(quality: int) -> None:
    assert facts(grey(FLAT), "JPEG", quality=quality)["jpeg_quality"] == pytest.approx(quality, abs=1)


def test_quality_is_between_1_and_100() -> None:
    assert (jpeg_quality([1] * 64), jpeg_quality([65535] * 64)) == (99.0, 1.0)


def test_grey_values_count_outside_the_middle_only() -> None:
    lesion = FLAT.copy()
    lesion[40:80, 60:120] = 220
    before, after = facts(grey(FLAT)), facts(grey(lesion))
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"mean", "spread", "bytes_per_pixel"}
    assert set(before) <= {*FACTS, *DESCRIPTIVE}


def test_frame_is_seen_at_the_border() -> None:
    framed = FLAT.copy()
    framed[:1], framed[-1:], framed[:, :1], framed[:, -1:] = 255, 255, 255, 255
    plain, found = facts(grey(FLAT)), facts(grey(framed))
    assert float(found["border_mean"]) > float(plain["border_mean"]) + 50
    assert float(found["outer_saturated"]) > 0


def test_letter_is_seen_as_strokes_and_the_outline_of_a_body_is_not() -> None:
    body = grey(np.zeros((256, 256)))
    ImageDraw.Draw(body).ellipse((10, 40, 246, 216), fill=200)
    marked = body.copy()
    ImageDraw.Draw(marked).text((8, 8), "L", fill=255, font_size=24)
    assert (facts(body)["strokes"], float(facts(marked)["strokes"]) > 0.02) == (0.0, True)


def test_colored_pixels_are_marks() -> None:
    image = grey(FLAT).convert("RGB")
    ImageDraw.Draw(image).rectangle((20, 20, 60, 60), fill=(255, 0, 0))
    assert facts(grey(FLAT).convert("RGB"))["colored"] == 0.0
    assert facts(image)["colored"] == pytest.approx(41 * 41 / FLAT.size, rel=0.1)


def test_large_and_tiny_images_have_facts_too() -> None:
    large = facts(grey(np.full((2100, 2100), 100)))
    assert (large["width"], large["mean"], large["border_mean"]) == (2100.0, 100.0, 100.0)
    assert facts(grey(np.full((1, 1), 9)))["outer_mean"] == 9.0


def test_facts_of_the_input_have_no_size_and_no_file() -> None:
    pixels = to_pixels(load(encoded(grey(FLAT))), Preprocessing(size=64, resize="pad"))
    found = facts_of_input(pixels)
    assert {"width", "format", "bytes_per_pixel"} & set(found) == set()
    assert found["outer_black"] == pytest.approx(0.55, abs=0.06)


def test_acquisition_is_medians_over_all_and_by_class() -> None:
    images: list[dict[str, float | str]] = [
        {"mean": 10.0, "format": "PNG"},
        {"mean": 20.0, "format": "JPEG"},
        {"mean": 60.0, "format": "JPEG"},
    ]
    assert acquisition(images, [0, 0, 1], ("normal", "tumor")) == {
        "images": 3,
        "medians": {"format": "JPEG", "mean": 20.0},
        "middle_90": {"mean": [11.0, 56.0]},
        "by_class": {"normal": {"format": "JPEG", "mean": 15.0}, "tumor": {"format": "JPEG", "mean": 60.0}},
    }


def test_acquisition_leaves_the_institution_out() -> None:
    found = acquisition([{"kvp": 120.0, "institution": "0123456789abcdef"}], [0], ("normal",))
    assert found["medians"] == {"kvp": 120.0}
