"""Bits of a DICOM pixel's cell that are its value: the Bits Stored up to High Bit. Overlays may use the other bits.

Source: https://dicom.nema.org/medical/dicom/current/output/chtml/part05/sect_8.html (PS3.5, 8.1.1), and for pixels that
do not begin at bit 0 the same section of earlier editions.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["contradicts_high_bit", "value_bits"]


def value_bits(cells: NDArray[Any], *, bits_stored: int, high_bit: int) -> NDArray[Any]:
    """Returns the values in cells: moved to bit 0, without the bits around them, signed values with their sign.

    Args:
        cells: Integers of any shape, in the machine's byte order; signed if the values are.
        bits_stored: Number of bits of a value, at least 1.
        high_bit: Position of the value's highest bit, counted from 0; from `bits_stored` - 1 to the cell's last bit.

    Returns:
        Values of the same shape and dtype.

    >>> value_bits(np.array([0x0FFF, 0xF801], np.uint16).view(np.int16), bits_stored=12, high_bit=11)
    array([   -1, -2047], dtype=int16)
    """
    size = 8 * cells.itemsize
    if bits_stored >= size:
        return cells
    raised = cells.view(f"u{cells.itemsize}") << (size - 1 - high_bit)
    values: NDArray[Any] = raised.view(cells.dtype) >> (size - bits_stored)
    return values


def contradicts_high_bit(cells: NDArray[Any], *, bits_stored: int, high_bit: int) -> bool:
    """Returns whether values begin at bit 0, although by High Bit they begin above it.

    If High Bit were right, the values would not all fit into the lowest bits and use those below their first one.
    """
    first = high_bit + 1 - bits_stored
    if first <= 0:
        return False
    in_place = value_bits(cells, bits_stored=bits_stored, high_bit=bits_stored - 1)
    return bool(np.any(cells.view(f"u{cells.itemsize}") & ((1 << first) - 1)) and np.array_equal(in_place, cells))
