"""Prediction of groups one after the other: batches run on across groups, and memory stays bounded by one group."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.prediction.results import Record
from ctonnx.prediction.series.grouping import Group
from ctonnx.prediction.series.ordering import in_order
from ctonnx.prediction.series.reduction import GroupRecord, GroupRule, Reduction
from ctonnx.prediction.series.slices import SliceReader

__all__ = ["predict_groups"]


def predict_groups(
    groups: Iterable[Group],
    predict: Callable[[Iterator[str]], Iterator[Record]],
    *,
    spec: ModelSpec,
    rule: GroupRule,
    read: SliceReader,
    on_record: Callable[[Record], object] = lambda record: None,
) -> Generator[GroupRecord, None, None]:
    """Yields the result for each group, in order.

    All slices go through one stream, so that a batch may have slices of two groups and none is half empty. Of a slice
    that is predicted, its scores are kept until its group is complete.

    Args:
        groups: Groups.
        predict: Predicts files in order, as `Predictor.predict_many`.
        spec: Spec of the model.
        rule: Rule that decides about a group.
        read: Reads the header of a file; of a folder's files when the folder is reached.
        on_record: Called with the record of each slice.
    """
    started: deque[Reduction] = deque()

    def files() -> Iterator[str]:
        for group in groups:
            known = group.with_headers(read)
            ordered = in_order(known.files)
            started.append(Reduction(known, ordered, spec, rule))
            yield from (one.file for one in ordered.slices)

    for record in predict(files()):
        while not started[0].takes(record):
            yield started.popleft().result()
        started[0].add(record)
        on_record(record)
    while started:
        yield started.popleft().result()
