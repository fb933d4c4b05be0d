"""A value has Bits Stored bits up to High Bit, with any bits around it, signed or not."""

import numpy as np
import pytest

from ctonnx.images.dicom.stored_bits import contradicts_high_bit, value_bits


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"])
@pytest.mark.parametrize("share", [0.5, 0.75, 1.0])
def test_value_is_read_at_any_position_of_its_cell_with_all_other_bits_set(kind: str, share: float) -> None:
    dtype = np.dtype(kind)
    size = 8 * dtype.itemsize
    bits = int(size * share)
    lowest = -(2 ** (bits - 1)) if dtype.kind == "i" else 0
    expected = [lowest, lowest + 1, 0, 1, lowest + 2**bits - 1]
    for first in range(size - bits + 1):
        around = (2**size - 1) ^ ((2**bits - 1) << first)
        for other in (0, around):
            cells = np.array([((value % 2**bits) << first) | other for value in expected], f"u{dtype.itemsize}")
            found = value_bits(cells.view(dtype), bits_stored=bits, high_bit=first + bits - 1)
            assert found.dtype == dtype
            assert found.tolist() == expected


def test_cells_are_not_changed() -> None:
    cells = np.array([0xF123], np.uint16)
    assert value_bits(cells, bits_stored=12, high_bit=11).tolist() == [0x123]
    assert cells.tolist() == [0xF123]


@pytest.mark.parametrize(
    ("cells", "is_wrong"),
    [
        ([100, 4095], True),  # as wide as the values, from bit 0
        ([100 << 4, 4095 << 4], False),
        ([100 << 4 | 3, 4095 << 4 | 3], False),  # an overlay below the values
        ([0, 16], False),  # ambiguous
    ],
)
def test_values_at_the_lowest_bits_show_a_wrong_high_bit(cells: list[int], *, is_wrong: bool) -> None:
    assert contradicts_high_bit(np.array(cells, np.uint16), bits_stored=12, high_bit=15) is is_wrong


def test_negative_values_at_the_lowest_bits_show_a_wrong_high_bit() -> None:
    assert contradicts_high_bit(np.array([-1024, -1, 5], np.int16), bits_stored=12, high_bit=15)
    assert not contradicts_high_bit(np.array([-1024, -1, 5], np.int16), bits_stored=12, high_bit=11)
