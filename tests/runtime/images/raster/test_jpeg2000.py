"""JPEG 2000 of any number of bits: the right greys, or an error that describes the file."""

import io
import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest
from tests.runtime.images.image_files import reason_of

from ctonnx.errors import ImageError
from ctonnx.images import load
from ctonnx.images.raster.jpeg2000 import Jpeg2000Header, read_header

UNIT = np.tile(np.linspace(0, 1, 24), (12, 1))
UNIT[6:] = UNIT[6:, ::-1]


def encoded(planes: list[Any], bits: int, *, signed: bool = False, form: str = "jp2") -> bytes:
    """Returns a file of values from 0 to 1, scaled to the range of the bits."""
    steps = 2**bits - 1
    values = np.rint(np.stack(planes, axis=-1) * steps).astype(np.int64) - signed * 2 ** (bits - 1)
    kind = f"{'i' if signed else 'u'}{1 if bits <= 8 else 2 if bits <= 16 else 4}"
    values = values[:, :, 0] if len(planes) == 1 else values
    options: dict[str, Any] = {"level": 0, "reversible": True, "codecformat": form, "bitspersample": bits, "mct": False}
    return bytes(imagecodecs.jpeg2k_encode(values.astype(kind), **options))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("form", ["jp2", "j2k"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 7, 8, 9, 10, 12, 14, 15, 16, 20, 24])
def test_range_of_the_bits_becomes_0_to_255(bits: int, channels: int, form: str, signed: bool) -> None:
    half = np.full_like(UNIT, 0.5)
    colours = [UNIT] if channels < 3 else [UNIT, 1 - UNIT, np.full_like(UNIT, 0.25)]
    steps = 2**bits - 1
    right = np.stack([np.rint(plane * steps) / steps * 255 for plane in colours], axis=-1)
    if channels in (2, 4):
        right = right * np.rint(half * steps)[:, :, None] / steps
    found = np.asarray(load(encoded([*colours, half][:channels], bits, form=form, signed=signed))).astype(float)
    right = np.broadcast_to(right, (*right.shape[:2], 3)) if found.ndim == 3 else right[:, :, 0]
    np.testing.assert_allclose(found, right, rtol=0, atol=1)


def boxed(data: bytes, *boxes: bytes) -> bytes:
    """Returns a file with further boxes at the end of its header box."""
    at = data.index(b"jp2h") - 4
    (length,) = struct.unpack(">I", data[at : at + 4])
    more = b"".join(boxes)
    return data[:at] + struct.pack(">I", length + len(more)) + data[at + 4 : at + length] + more + data[at + length :]


def test_header_is_read() -> None:
    header = read_header(io.BytesIO(encoded([UNIT] * 3, 12)))
    assert header == Jpeg2000Header(
        width=24, height=12, bits=(12,) * 3, signed=(False,) * 3, steps=((1, 1),) * 3, colour_space=16
    )


@pytest.mark.parametrize("cut", [0, 4, 13, 40, 60, 90])
def test_truncated_header_is_none(cut: int) -> None:
    assert read_header(io.BytesIO(encoded([UNIT], 12)[:cut])) is None


def test_palette_of_more_than_8_bits_is_reported() -> None:
    palette = struct.pack(">HB3B", 2, 3, 11, 11, 11) + struct.pack(">6H", *range(6))
    box = struct.pack(">I4s", 8 + len(palette), b"pclr") + palette
    assert reason_of(boxed(encoded([UNIT], 8), box)) == (
        "a JPEG 2000 image of 8 bits (unsigned, palette of 12 bits), which is not supported; convert it to PNG, "
        "or to TIFF of 8 or 16 bits"
    )


def test_ycc_of_more_than_8_bits_is_reported() -> None:
    data = encoded([UNIT] * 3, 12)
    at = data.index(b"colr") + 4
    with pytest.raises(ImageError, match=r"a JPEG 2000 image of 3 samples of 12 bits \(unsigned, sYCC\), which is not"):
        load(data[: at + 3] + struct.pack(">I", 18) + data[at + 7 :])


def test_subsampled_colours_of_12_bits_are_reported() -> None:
    data = bytearray(encoded([UNIT] * 3, 12, form="j2k"))
    data[46:48] = 2, 2  # the second sample's steps
    with pytest.raises(ImageError, match=r"a JPEG 2000 image of 3 samples of 12 bits \(unsigned, subsampled\), which"):
        load(bytes(data))


def nested(depth: int, inner: bytes = b"") -> bytes:
    """Returns nested header boxes."""
    for _ in range(depth):
        inner = struct.pack(">I4s", 8 + len(inner), b"jp2h") + inner
    return inner


def test_endless_header_boxes_end_in_an_error() -> None:
    mark = encoded([UNIT], 8)[:12]
    assert reason_of(mark + nested(3000)) == "not an image in a format that can be read"
    whole = encoded([UNIT], 12)
    assert read_header(io.BytesIO(boxed(whole, nested(3000)))) == read_header(io.BytesIO(whole))


def test_damaged_stream_is_an_error() -> None:
    data = encoded([UNIT] * 3, 12)
    with pytest.raises(ImageError, match="damaged image: "):
        load(data[: len(data) // 2])


def test_too_large_image_is_rejected_before_it_is_decoded() -> None:
    data = bytearray(encoded([UNIT] * 3, 12, form="j2k"))
    data[8:16] = struct.pack(">II", 60000, 60000)
    with pytest.raises(ImageError, match="too large to decode safely: 3600000000 pixels, and an image may have "):
        load(bytes(data))


def test_eight_bits_are_decoded_by_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", None)
    assert load(encoded([UNIT] * 3, 8)).mode == "RGB"
    assert load(encoded([UNIT], 16)).mode == "L"
