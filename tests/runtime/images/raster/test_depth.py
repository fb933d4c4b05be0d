"""Rules for samples of any bit depth."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctonnx.images import load
from ctonnx.images.raster import depth
from ctonnx.images.raster.depth import from_samples


def row(samples: Any, dtype: str, **options: Any) -> list[Any]:
    """Returns the first row of the converted image."""
    array = np.asarray(samples, dtype)
    array = array[None, :, None] if array.ndim == 1 else array[None]
    found: list[Any] = np.asarray(from_samples(array, **{"photometric": 1, "colours": 1, **options}))[0].tolist()
    return found


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8, 10, 12, 14, 16])
def test_full_range_of_unsigned_bits_becomes_0_to_255(bits: int) -> None:
    top = 2**bits - 1
    assert row([0, top], "u2", bits=bits) == [0, 255]
    assert row([top // 2], "u2", bits=bits) == [np.floor(top // 2 * 255 / top + 0.5)]


def test_sixteen_bits_are_rounded_like_those_of_pillow() -> None:
    every = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    ours = from_samples(every[:, :, None], bits=16, photometric=1, colours=1)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(load(Image.fromarray(every))))


@pytest.mark.parametrize(
    ("samples", "dtype", "bits", "expected"),
    [
        ([0, 2**31, 2**32 - 1], "u4", 32, [0, 128, 255]),
        ([1000, 1001, 1004], "u4", 32, [0, 64, 255]),
        ([0, 2**63, 2**64 - 1], "u8", 64, [0, 128, 255]),
        ([-128, 0, 127], "i1", 8, [0, 128, 255]),
        ([-1000, 0, 3000], "i2", 16, [0, 64, 255]),
        ([-1, 0, 1, 4], "f4", 32, [0, 51, 102, 255]),
        ([0, np.nan, np.inf, -np.inf, 10], "f4", 32, [0, 0, 255, 0, 255]),
        ([np.nan, np.inf], "f8", 64, [0, 0]),
        ([-1.7e308, 0, 1.7e308], "f8", 64, [0, 128, 255]),
        ([7, 7], "f4", 32, [0, 0]),
    ],
)
def test_values_without_a_range_are_stretched_over_their_minimum_and_maximum(
    samples: list[float], dtype: str, bits: int, expected: list[int]
) -> None:
    assert row(samples, dtype, bits=bits) == expected


def test_minimum_that_is_white_is_inverted_and_nan_is_black() -> None:
    assert row([0, 1000, 4095], "u2", bits=12, photometric=0) == [255, 193, 0]
    assert row([-1, 0, 3], "f4", bits=32, photometric=0) == [255, 191, 0]
    assert row([0, np.nan, 10], "f4", bits=32, photometric=0) == [255, 0, 0]


def test_colours_share_one_range() -> None:
    assert row([[0, 1, 2], [4, 2, 0]], "f4", bits=32, photometric=2, colours=3) == [[0, 64, 128], [255, 128, 0]]


def test_alpha_is_composited_on_black_and_premultiplied_colours_are_unchanged() -> None:
    grey = [[4095, 4095], [4095, 2048], [4095, 0]]
    assert row(grey, "u2", bits=12, alpha=1) == [255, 128, 0]
    assert row([[4095, 4095], [2048, 2048], [0, 0]], "u2", bits=12, alpha=1, is_premultiplied=True) == [255, 128, 0]
    assert row([[0, 1], [1, 0.5], [1, 7]], "f4", bits=32, alpha=1) == [0, 128, 255]


def test_palette_has_16_or_8_bits() -> None:
    assert row([0, 1], "u1", bits=1, photometric=3, palette=[0, 65535, 257, 0, 514, 0]) == [[0, 1, 2], [255, 0, 0]]
    assert row([0, 1], "u1", bits=1, photometric=3, palette=[0, 255, 1, 0, 2, 0]) == [[0, 1, 2], [255, 0, 0]]


def test_cmyk_and_ycbcr_become_rgb() -> None:
    assert row([[4095, 0, 0, 0], [0, 0, 0, 4095]], "u2", bits=12, photometric=5, colours=4) == [
        [0, 255, 255],
        [0, 0, 0],
    ]
    assert row([[77, 128, 128]], "u1", bits=8, photometric=6, colours=3) == [[77, 77, 77]]


def test_full_range_of_more_than_16_bits_is_optional() -> None:
    assert row([0, 2**19], "u4", bits=20, is_full_range=True) == [0, 128]


def test_image_converted_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(0).normal(size=(13, 7, 4))
    whole = from_samples(samples, bits=64, photometric=2, colours=3, alpha=3)
    monkeypatch.setattr(depth, "_BLOCK", 30)
    parts = from_samples(samples, bits=64, photometric=2, colours=3, alpha=3)
    assert (parts.mode, parts.tobytes()) == (whole.mode, whole.tobytes())
