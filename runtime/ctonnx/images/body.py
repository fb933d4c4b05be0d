"""The bounding box of the body in a CT image, without the table, letters and margins around it.

`docs/reference/images.md` states the rule for readers in other languages.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["body_box"]

_CELLS = 96  # along the longer side of the grid on which the body is looked for
_WHITE = 250  # of a margin: grey levels; a body is not white from edge to edge
_SHARE = 0.75  # of Otsu's threshold: fat belongs to the body, air and most of a table's foam do not
_PART = 0.1  # of the largest part's area: an arm belongs to the body, a letter does not
_LEAST = 0.25  # of the image's width and height


def body_box(image: Image.Image) -> tuple[int, int, int, int]:
    """Returns left, top, right and bottom of the body in an image of mode `L` or `RGB`, in pixels.

    The body is what is bright by Otsu's threshold (1979, https://doi.org/10.1109/TSMC.1979.4310076) on a grid of at
    most 96 x 96 cells, thicker than two cells, and connected; smaller parts belong to it if they have a tenth of the
    largest one's area. The whole image is returned if nothing is bright, or the box has less than a quarter of the
    image's width or height.
    """
    grey = image if image.mode == "L" else image.convert("L")
    cell = -(-max(grey.size) // _CELLS)
    cells = np.asarray(grey.reduce(cell) if cell > 1 else grey)
    x, y, inside = _without_white_margins(cells)
    rows, starts, ends = _parts(_opened(inside > _SHARE * _otsu(inside)))
    whole = 0, 0, *image.size
    if not len(rows):
        return whole
    left, top = (x + int(starts.min())) * cell, (y + int(rows.min())) * cell
    right, bottom = (
        min(end * cell, side)
        for end, side in zip((x + int(ends.max()), y + int(rows.max()) + 1), image.size, strict=True)
    )
    is_small = right - left < _LEAST * image.width or bottom - top < _LEAST * image.height
    return whole if is_small else (left, top, right, bottom)


def _without_white_margins(cells: NDArray[np.uint8]) -> tuple[int, int, NDArray[np.uint8]]:
    """Returns the grid without white rows and columns at its edges, and the position of its first cell."""
    dark_rows, dark_columns = (np.flatnonzero(cells.min(axis=axis) < _WHITE) for axis in (1, 0))
    if not len(dark_rows):
        return 0, 0, cells
    x, y = int(dark_columns[0]), int(dark_rows[0])
    return x, y, cells[y : dark_rows[-1] + 1, x : dark_columns[-1] + 1]


def _otsu(cells: NDArray[np.uint8]) -> int:
    """Returns the first grey level that separates the grid best into it and all below, and all above."""
    counts = np.bincount(cells.ravel(), minlength=256).astype(float)
    below, sums = np.cumsum(counts), np.cumsum(counts * np.arange(256))
    above = below[-1] - below
    variance = np.zeros(256)
    split = (below > 0) & (above > 0)
    variance[split] = (sums[-1] * below - sums * below[-1])[split] ** 2 / (below * above)[split]
    return int(variance.argmax())


def _opened(bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns the squares of 3 x 3 bright cells: thin lines and the strokes of letters are lost."""
    padded = np.pad(bright, 1)
    rows = padded[:-2] & padded[1:-1] & padded[2:]
    padded = np.pad(rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:], 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    opened: NDArray[np.bool_] = rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
    return opened


def _parts(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Returns row, start and end of the runs of cells in the largest connected part.

    Other parts count if they have a tenth of its area. Runs in neighbouring rows are connected if they share a column.
    """
    steps = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    if not len(rows):
        return rows, starts, ends
    parent = list(range(len(rows)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    first = np.searchsorted(rows, np.arange(len(mask) + 1)).tolist()
    start, end = starts.tolist(), ends.tolist()
    for row in range(1, len(mask)):
        above, here = first[row - 1], first[row]
        while above < first[row] and here < first[row + 1]:
            if start[above] < end[here] and start[here] < end[above]:
                one, other = sorted((root(above), root(here)))
                parent[other] = one
            if end[above] < end[here]:
                above += 1
            else:
                here += 1
    roots = np.array([root(run) for run in range(len(rows))])
    areas = np.bincount(roots, weights=ends - starts)
    kept = areas[roots] >= _PART * areas.max()
    return rows[kept], starts[kept], ends[kept]
