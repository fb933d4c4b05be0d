"""Which bits of a DICOM pixel's cell are its value: Bits Stored of them, up to High Bit. Overlays may use the others.

Source: https://dicom.nema.org/medical/dicom/current/output/chtml/part05/sect_8.html (PS3.5, 8.1.1), and for pixels that
do not begin at bit 0 the same section of earlier editions.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["lies_elsewhere", "value_bits"]


def value_bits(cells: NDArray[Any], *, bits_stored: int, high_bit: int) -> NDArray[Any]:
    """Returns the values in cells: moved to bit 0, without the bits around them, signed values with their sign.

    Args:
        cells: Whole numbers of any shape, of the machine's byte order; signed where the values are.
        bits_stored: Number of bits of a value, from 1.
        high_bit: Place of the value's highest bit, counted from 0; from `bits_stored` - 1 to the cell's last.

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


def lies_elsewhere(cells: NDArray[Any], *, bits_stored: int, high_bit: int) -> bool:
    """Says whether values begin at bit 0, although High Bit has them begin above it.

    With a right High Bit values do not all fit into the lowest bits and use those below where they should begin.

    Args:
        cells: as for `value_bits`.
        bits_stored: as for `value_bits`.
        high_bit: as for `value_bits`.
    """
    first = high_bit + 1 - bits_stored
    if first <= 0:
        return False
    in_place = value_bits(cells, bits_stored=bits_stored, high_bit=bits_stored - 1)
    return bool(np.any(cells.view(f"u{cells.itemsize}") & ((1 << first) - 1)) and np.array_equal(in_place, cells))
