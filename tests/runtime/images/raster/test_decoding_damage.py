"""Decompression bombs are rejected with their size, damaged files with the reason."""

import contextlib
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.runtime.images.image_files import GREY, encoded, error_of, noise

from ctonnx.errors import ImageError
from ctonnx.images import load as load_image
from ctonnx.images import load_frames


def test_decompression_bomb_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert error_of(encoded(GREY)) == (
        "bytes in memory: too large to decode safely: 1200 pixels, and an image may have 1000"
    )


def test_error_of_a_bomb_names_the_lower_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ImageError, match="1200 pixels, and an image may have 700"):
        next(load_frames(encoded(GREY), most_pixels=700))


def test_decompression_warning_is_an_image_error_if_warnings_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert error_of(encoded(GREY)) == (
            "bytes in memory: too large to decode safely: 1200 pixels, and an image may have 1000"
        )


def test_image_of_the_largest_safe_size_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1200)
    assert load_image(encoded(GREY)).size == (40, 30)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "TGA", "PCX", "WEBP"]),
    st.integers(0, 300),
    st.binary(min_size=1, max_size=8),
)
def test_damaged_file_gives_pixels_or_an_image_error(file_format: str, place: int, damage: bytes) -> None:
    data = bytearray(noise(file_format))
    data[place : place + len(damage)] = damage
    mode = "L"
    with contextlib.suppress(ImageError):
        mode = load_image(bytes(data)).mode
    assert mode in ("L", "RGB")
