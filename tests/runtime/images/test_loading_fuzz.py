"""Images with random changes of their bytes: pixels or an ImageError, no crash, no hang, no growth of memory.

CTONNX_FUZZ=50000 python -m pytest tests/runtime/images/test_loading_fuzz.py    # many more cases
"""

import io
import os
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.runtime.images.image_files import encoded

from ctonnx.errors import ImageError
from ctonnx.images import Preprocessing, load, load_frames, to_pixels

_CASES = int(os.environ.get("CTONNX_FUZZ", "500"))  # per format
_MOST_SECONDS = 10.0  # for an image of 64 pixels: a hang, not a slow machine
_MOST_GROWTH = 64e6  # bytes
_PREPROCESSING = Preprocessing(size=32)


def _dicom() -> bytes:
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = pydicom.uid.CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality, dataset.PatientName = "CT", "SECRET^NAME"
    dataset.Rows = dataset.Columns = 64
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.PixelData = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype("<u2").tobytes()
    data = io.BytesIO()
    dataset.save_as(data, enforce_file_format=True)
    return data.getvalue()


def _pillow(file_format: str) -> bytes:
    y, x = np.mgrid[:64, :64]
    return encoded(Image.fromarray(((x * x + y * 3) % 256).astype(np.uint8)), file_format)


@st.composite
def _changed(draw: st.DrawFn, whole: bytes) -> bytes:
    """Cuts, flips, repeats, swaps and inserts bytes, mostly near the head with its sizes and offsets."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.one_of(st.integers(0, min(400, len(data))), st.integers(0, len(data))))
        kind = draw(st.sampled_from(["flip", "set", "word", "cut", "end", "insert", "repeat"]))
        if kind == "flip" and place < len(data):
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set":
            data[place : place + 1] = bytes([draw(st.sampled_from([0, 1, 127, 128, 255]))])
        elif kind == "word":
            data[place : place + 4] = draw(st.sampled_from([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"]))
        elif kind == "cut":
            del data[place : place + draw(st.integers(1, 64))]
        elif kind == "end":
            del data[place:]
        elif kind == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=16))
        else:
            data[place:place] = data[place : place + draw(st.integers(1, 64))]
    return bytes(data)


def _resident() -> int:
    """Returns the memory of this process in bytes, on Linux."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system has no process memory in /proc")
@pytest.mark.filterwarnings("ignore")  # Pillow warns of the damage
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "GIF", "DICOM"])
def test_changed_bytes_give_pixels_or_an_image_error(file_format: str) -> None:
    whole = _dicom() if file_format == "DICOM" else _pillow(file_format)
    assert load(whole).size == (64, 64)
    seen: list[bool] = []
    reported: list[str] = []
    memory = 0

    @settings(
        max_examples=_CASES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(_changed(whole))
    def read(data: bytes) -> None:
        nonlocal memory
        start = time.perf_counter()
        try:
            for _, found in islice(load_frames(data), 3):
                if isinstance(found, ImageError):
                    raise found
                assert to_pixels(found, _PREPROCESSING).shape == (32, 32, 3)
            seen.append(True)
        except ImageError as error:
            seen.append(False)
            reported.append(str(error))
        assert time.perf_counter() - start < _MOST_SECONDS
        if len(seen) == 50:  # plugins and caches are loaded
            memory = _resident()

    read()
    assert len(seen) >= _CASES
    assert any(seen)
    assert not all(seen)
    assert not any("SECRET" in text for text in reported)
    assert _resident() - memory < _MOST_GROWTH
