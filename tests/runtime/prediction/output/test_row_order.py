"""Order of rows: that of the files, or descending with failures at the end."""

import numpy as np
import pytest

from ctonnx.cli.commands.predict import predict
from ctonnx.prediction.output.row_order import SORT_KEYS, ordered
from ctonnx.prediction.results import Failure, Prediction, Record


def prediction(source: str, score: float | None, probability: float = 0.5) -> Prediction:
    maps = np.zeros((1, 1, 1), np.float32)
    return Prediction(source, {"tumor": probability}, np.zeros(1, np.float32), maps, score=score)


RECORDS: list[Record] = [
    prediction("a", 0.25, 0.9),
    Failure("b", "damaged"),
    prediction("c", 0.75, 0.6),
    prediction("d", 0.25, 0.7),
    Failure("e", "damaged"),
    prediction("f", 0.0, 0.8),
]


@pytest.mark.parametrize(("key", "order"), [(None, "abcdef"), ("score", "cadfbe"), ("probability", "afdcbe")])
def test_rows_come_in_the_order_that_is_asked_for(key: str | None, order: str) -> None:
    written: list[str] = []
    with ordered(written.append, key) as put:
        for record in RECORDS:
            put(record, record.source)
        assert "".join(written) == (order if key is None else "")
    assert "".join(written) == order


def test_sorted_rows_of_a_run_that_fails_are_not_written() -> None:
    written: list[str] = []

    def fail() -> None:
        with ordered(written.append, "score") as put:
            put(RECORDS[0], "a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert written == []


def test_keys_are_those_that_the_command_offers() -> None:
    choices = {option.name: getattr(option.type, "choices", None) for option in predict.params}
    assert list(choices["sort"] or ()) == list(SORT_KEYS)
