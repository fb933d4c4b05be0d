"""The order of `ctonnx predict`'s rows: that of the files as they come, or sorted when all are known."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import itemgetter

from ctonnx.prediction.results import Failure, Prediction, Record

__all__ = ["SORT_KEYS", "ordered"]

SORT_KEYS: dict[str, Callable[[Prediction], float]] = {
    "score": lambda prediction: prediction.score or 0.0,
    "probability": lambda prediction: prediction.probability,
}
"""What rows may be sorted by, the greatest first: each a number of every prediction."""


@contextmanager
def ordered(write: Callable[[str], None], key: str | None) -> Iterator[Callable[[Record, str], None]]:
    """Yields what takes each record with its row, and writes the rows at once or, sorted, at the end of the block.

    Rows alike stay in the order of the files, and failures come last. A block that ends with an error writes no sorted
    row: half of them would pass for the first half.

    Args:
        write: Writes a row.
        key: A name of `SORT_KEYS`; None writes the rows as they come.
    """
    if key is None:
        yield lambda record, row: write(row)
        return
    value, rows = SORT_KEYS[key], list[tuple[tuple[bool, float], str]]()

    def keep(record: Record, row: str) -> None:
        rank = (True, 0.0) if isinstance(record, Failure) else (False, -value(record))
        rows.append((rank, row))

    yield keep
    for _, row in sorted(rows, key=itemgetter(0)):
        write(row)
