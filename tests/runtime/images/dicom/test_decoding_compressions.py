"""Pixels of each transfer syntax and compression, and damaged streams."""

import contextlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ctonnx.errors import ImageError
from ctonnx.images import load
from ctonnx.images.dicom.rendering.window import windowed

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
uid = pydicom.uid

from tests.runtime.images.dicom.dicom_files import HU, LUNG, encoded, error_of, grey, grey_of, make  # noqa: E402 - it needs pydicom


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian])
def test_encoding_changes_no_pixel(syntax: str) -> None:
    np.testing.assert_array_equal(grey(make(syntax=syntax)), LUNG)


def test_run_lengths_are_decoded() -> None:
    image = make()
    image.compress(uid.RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(grey(image), LUNG)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("693_J2KI.dcm", "L"),  # JPEG 2000
        ("MR_small_jp2klossless.dcm", "L"),
        ("MR_small_jpeg_ls_lossless.dcm", "L"),
        ("JPEGLSNearLossless_16.dcm", "L"),
        ("MR_small_bigendian.dcm", "L"),
        ("SC_rgb_jpeg_gdcm.dcm", "RGB"),  # JPEG lossless
        ("SC_rgb_jpeg_dcmtk.dcm", "RGB"),  # JPEG baseline
        ("SC_ybr_full_422_uncompressed.dcm", "RGB"),
        ("image_dfl.dcm", "L"),
    ],
)
def test_compression_is_decoded(name: str, mode: str) -> None:
    pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    file = Path(pydicom.__file__).parent / "data" / "test_files" / name
    if not file.exists():
        pytest.skip("this pydicom comes without its test files")
    image = load(file)
    assert image.mode == mode
    low, high = np.asarray(image).min(), np.asarray(image).max()
    assert low < high


CODED = np.abs(HU).astype(np.uint16)


def compressed(syntax: str, stream: bytes, pixels: NDArray[Any] = CODED, **elements: Any) -> bytes:
    """Returns a file with `stream` as its only frame."""
    image = make(pixels, syntax=syntax, PixelData=pydicom.encaps.encapsulate([stream]), **elements)
    image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    return encoded(image)


def streams() -> dict[str, tuple[str, bytes]]:
    codecs = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    lossless = codecs.jpeg8_encode(CODED, lossless=True, bitspersample=16)
    return {
        "JPEG lossless": (uid.JPEGLossless, lossless),
        "JPEG lossless SV1": (uid.JPEGLosslessSV1, lossless),
        "JPEG lossless 12 bits": (
            uid.JPEGLosslessSV1,
            codecs.jpeg8_encode(CODED, lossless=True, bitspersample=12, predictor=1),
        ),
        "JPEG extended": (uid.JPEGExtended12Bit, codecs.jpeg8_encode(CODED, 99, bitspersample=12)),
        "JPEG-LS": (uid.JPEGLSLossless, codecs.jpegls_encode(CODED)),
        "JPEG-LS near lossless": (uid.JPEGLSNearLossless, codecs.jpegls_encode(CODED, level=2)),
        "JPEG 2000": (uid.JPEG2000Lossless, codecs.jpeg2k_encode(CODED, codecformat="j2k", reversible=True)),
    }


@pytest.mark.parametrize("kind", streams() if find_spec("imagecodecs") else [])
def test_each_compression_is_decoded(kind: str) -> None:
    syntax, stream = streams()[kind]
    found = grey_of(compressed(syntax, stream, BitsStored=12, HighBit=11))
    expected = windowed(CODED.astype(float), -600, 1500)
    exact = kind not in ("JPEG extended", "JPEG-LS near lossless")
    np.testing.assert_allclose(found.astype(int), expected, rtol=0, atol=0 if exact else 4)


def test_compressed_hounsfield_units_keep_their_sign() -> None:
    codecs = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    bits = HU.view(np.uint16)
    np.testing.assert_array_equal(
        grey_of(compressed(uid.JPEGLossless, codecs.jpeg8_encode(bits, lossless=True, bitspersample=16), HU)), LUNG
    )
    np.testing.assert_array_equal(grey_of(compressed(uid.JPEGLSLossless, codecs.jpegls_encode(bits), HU)), LUNG)


def test_compressed_colour_is_rgb() -> None:
    codecs = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 20, 3)).astype(np.uint8)
    for syntax, stream in (
        (uid.JPEGLosslessSV1, codecs.jpeg8_encode(pixels, lossless=True)),
        (uid.JPEG2000Lossless, codecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, mct=False)),
    ):
        data = compressed(syntax, stream, pixels, SOPClassUID=uid.SecondaryCaptureImageStorage)
        np.testing.assert_array_equal(np.asarray(load(data)), pixels)


def test_damaged_streams_give_pixels_or_errors_and_never_end_the_process() -> None:
    random = np.random.default_rng(0)
    for syntax, stream in streams().values():
        for _ in range(40):
            damaged = bytearray(stream)
            for place in random.integers(0, len(stream), random.integers(1, 5)):
                damaged[place] = random.integers(0, 256)
            cut = len(stream) if random.random() < 0.7 else int(random.integers(2, len(stream)))
            with contextlib.suppress(ImageError):
                assert load(compressed(syntax, bytes(damaged[:cut]), BitsStored=12, HighBit=11)).size == (40, 30)


@pytest.mark.parametrize("kind", ["JPEG lossless", "JPEG-LS"])
def test_truncated_stream_or_one_of_another_size_is_rejected(kind: str) -> None:
    syntax, stream = streams()[kind]
    expected = f"damaged DICOM file, or a variant of {uid.UID(syntax).name} that cannot be read"
    assert error_of(compressed(syntax, stream[: len(stream) // 2])) == expected
    assert error_of(compressed(syntax, stream, Rows=29)) == expected


def test_missing_decoder_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    data = compressed(*streams()["JPEG lossless SV1"])
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    kind = "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])"
    assert error_of(data) == f'a DICOM file compressed as {kind}, which needs imagecodecs; pip install "ctonnx[dicom]"'


def test_lossless_compression_changes_no_pixel() -> None:
    pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    names = ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"]
    if not all((folder / name).exists() for name in names):
        pytest.skip("this pydicom comes without its test files")
    first, *others = [load(folder / name).image.tobytes() for name in names]
    assert all(pixels == first for pixels in others)
