"""Samples of a TIFF file, and the description of the file in errors."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.runtime.images.image_files import reason_of
from tests.runtime.images.raster.tiff_files import FLOAT, LZW, MIN_IS_WHITE, SIGNED, tiff

from ctonnx.images import load
from ctonnx.images.raster.tiff import TiffHeader, read_header

RAMP = np.array([[0, 1000, 4095]])


def header_of(data: bytes) -> TiffHeader:
    return read_header(io.BytesIO(data), "scan.tif")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_header_is_read(order: Any, big: bool) -> None:
    samples = np.zeros((3, 5, 4), int)
    data = tiff(
        samples,
        bits=12,
        photometric=2,
        order=order,
        big=big,
        compression=LZW,
        planar=2,
        extra=(1,),
        pages=2,
        tags={274: (3, [6]), 320: (3, [1, 2, 3])},
    )
    assert header_of(data) == TiffHeader(
        width=5,
        height=3,
        bits=(12,) * 4,
        kinds=(1,) * 4,
        photometric=2,
        extra=(1,),
        compression=5,
        planar=2,
        orientation=6,
        palette=(1, 2, 3),
        is_big_endian=order == ">",
        is_bigtiff=big,
        has_more=True,
    )


def test_field_of_one_value_applies_to_all_samples() -> None:
    data = tiff(np.zeros((2, 2, 3), int), bits=8, photometric=2, tags={258: (3, [8]), 339: (3, [1])})
    assert header_of(data).bits == (8, 8, 8)
    assert header_of(data).kinds == (1, 1, 1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"bits": 12, "kind": SIGNED}, "a TIFF image of 12 bits (signed, min is black, not compressed)"),
        ({"bits": 24}, "a TIFF image of 24 bits (unsigned, min is black, not compressed)"),
        (
            {"bits": 12, "compression": LZW, "predictor": 2},
            "a TIFF image of 12 bits (unsigned, min is black, LZW, predictor 2)",
        ),
        (
            {"bits": 8, "tags": {262: (3, [32803])}},
            "a TIFF image of 8 bits (unsigned, a camera's colour filter array, not compressed)",
        ),
        (
            {"bits": 16, "tags": {262: (3, [7])}},
            "a TIFF image of 16 bits (unsigned, photometric interpretation 7, not compressed)",
        ),
        ({"bits": 8, "tags": {259: (3, [34887])}}, "a TIFF image of 8 bits (unsigned, min is black, LERC)"),
        ({"bits": 8, "tags": {259: (3, [999])}}, "a TIFF image of 8 bits (unsigned, min is black, compression 999)"),
        (
            {"bits": 32, "tags": {339: (3, [6])}},
            "a TIFF image of 32 bits (complex float, min is black, not compressed)",
        ),
        (
            {"bits": 8, "photometric": 3, "tags": {320: (3, [65535] * 9)}},
            "a TIFF image of 8 bits (unsigned, palette, not compressed)",
        ),
    ],
)
def test_unsupported_file_is_described_with_advice(options: dict[str, Any], expected: str) -> None:
    assert reason_of(tiff(RAMP, **options)) == (
        f"{expected}, which is not supported; convert it to PNG, or to TIFF of 8 or 16 bits"
    )


@pytest.mark.parametrize(
    ("samples", "options", "expected"),
    [
        (
            3,
            {"tags": {258: (3, [5, 6, 5])}, "photometric": 2},
            "a TIFF image of 3 samples of 5 + 6 + 5 bits (unsigned, RGB, not compressed)",
        ),
        (2, {}, "a TIFF image of 2 samples of 8 bits (unsigned, min is black, not compressed)"),
        (3, {"photometric": 6}, "a TIFF image of 3 samples of 8 bits (unsigned, YCbCr, not compressed, subsampled)"),
        (
            4,
            {"photometric": 5, "tags": {332: (3, [2])}},
            "a TIFF image of 4 samples of 8 bits (unsigned, CMYK, not compressed)",
        ),
        (
            2,
            {"extra": (1,), "photometric": MIN_IS_WHITE},
            "a TIFF image of 2 samples of 8 bits (unsigned, min is white, not compressed)",
        ),
        (
            3,
            {"photometric": 2, "planar": 2, "tags": {339: (3, [2, 2, 2])}, "bits": 12},
            "a TIFF image of 3 samples of 12 bits (signed, RGB, not compressed, in planes)",
        ),
    ],
)
def test_samples_without_a_rule_are_described(samples: int, options: dict[str, Any], expected: str) -> None:
    data = tiff(np.zeros((2, 4, samples), int), **{"bits": 8, **options})
    assert reason_of(data).startswith(f"{expected}, which is not supported")


def test_palette_of_8_bit_colours_is_not_black() -> None:
    colours = [*range(256), *range(255, -1, -1), *[7] * 256]
    data = tiff(np.array([[0, 100, 255]]), bits=8, photometric=3, tags={320: (3, colours)})
    assert np.asarray(load(data)).tolist() == [[[0, 255, 7], [100, 155, 7], [255, 0, 7]]]


def test_declared_minimum_and_maximum_are_ignored() -> None:
    plain = tiff(RAMP, bits=12)
    named = tiff(RAMP, bits=12, tags={280: (3, [1000]), 281: (3, [2000]), 340: (3, [1000]), 341: (3, [2000])})
    np.testing.assert_array_equal(np.asarray(load(named)), np.asarray(load(plain)))


def test_first_of_several_pages_is_read_with_a_warning() -> None:
    scan = load(tiff(RAMP, bits=12, pages=3))
    assert np.asarray(scan).tolist() == [[0, 62, 255]]
    assert scan.caution == "only the first of several pages was read"
    assert load(tiff(RAMP, bits=12)).caution is None


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({277: (3, [0])}, "damaged image: 0 samples a pixel"),
        ({32997: (4, [9])}, "damaged image: 9 slices in one page"),
        ({277: (3, [5]), 258: (3, [8, 8])}, "damaged image: 2 values for 5 samples a pixel"),
    ],
)
def test_inconsistent_directory_is_reported_as_damage(tags: dict[int, Any], expected: str) -> None:
    assert reason_of(tiff(RAMP, bits=12, tags=tags)) == expected


def test_image_without_pixels_is_reported() -> None:
    assert reason_of(tiff(RAMP, bits=12, tags={256: (4, [0])})) == "the image has no pixels: 0 x 1"


def test_too_large_image_is_rejected_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    assert reason_of(tiff(RAMP, bits=12)) == "too large to decode safely: 3 pixels, and an image may have 2"


def test_float_header_takes_memory_for_all_its_samples() -> None:
    assert header_of(tiff(np.zeros((1, 1, 3)), bits=64, kind=FLOAT, photometric=2)).bytes_per_pixel == 3 * 3 * 8 + 16
