"""Damaged and hostile directories of TIFF files."""

import struct

import numpy as np
import pytest
from tests.runtime.images.image_files import reason_of
from tests.runtime.images.raster.tiff_files import tiff

RAMP = np.array([[0, 1000, 4095]])


@pytest.mark.parametrize("size", [8, 9, 12, 60, 100])
def test_truncated_directory_is_reported_as_damage(size: int) -> None:
    at_end = tiff(RAMP, bits=12)
    (directory,) = struct.unpack("<I", at_end[4:8])
    assert reason_of(at_end[: directory + size]) == "damaged image: its first directory cannot be read"


def test_directory_of_a_million_fields_is_not_read() -> None:
    data = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 10**6) + bytes(100)
    assert reason_of(data) == "damaged image: its first directory has 1000000 fields"
