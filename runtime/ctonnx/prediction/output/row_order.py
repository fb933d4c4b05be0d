"""Order of the rows of `ctonnx predict`: that of the files, or sorted after all images are predicted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import itemgetter

from ctonnx.prediction.results import Failure, Prediction, Record
from ctonnx.prediction.series.reduction import GroupFailure, GroupPrediction, GroupRecord

__all__ = ["SORT_KEYS", "ordered"]

SORT_KEYS: dict[str, Callable[[Prediction | GroupPrediction], float]] = {
    "score": lambda prediction: prediction.score or 0.0,
    "probability": lambda prediction: prediction.probability,
}
"""Sort keys by name; rows are sorted in descending order."""


@contextmanager
def ordered(write: Callable[[str], None], key: str | None) -> Iterator[Callable[[Record | GroupRecord, str], None]]:
    """Yields a function that takes each record with its row, and writes it, or the sorted rows at the end of the block.

    Rows without a key, or with equal keys, stay in the order of the files; failures are last if sorted. If the block
    raises an error, no sorted row is written, as an incomplete list could be mistaken for the top of the complete one.
    """
    if key is None:
        yield lambda record, row: write(row)
        return
    value, rows = SORT_KEYS[key], list[tuple[tuple[bool, float], str]]()

    def keep(record: Record | GroupRecord, row: str) -> None:
        rank = (True, 0.0) if isinstance(record, Failure | GroupFailure) else (False, -value(record))
        rows.append((rank, row))

    yield keep
    for _, row in sorted(rows, key=itemgetter(0)):
        write(row)
