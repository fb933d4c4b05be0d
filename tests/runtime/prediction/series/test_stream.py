"""Stream of groups: one pass over all slices, each group's records with it, groups without slices in order."""

from collections.abc import Iterator

from tests.runtime.prediction.made_groups import SPEC, group_of, prediction

from ctonnx.prediction.results import Failure, Record
from ctonnx.prediction.series.grouping import Group
from ctonnx.prediction.series.reduction import GroupFailure, GroupPrediction, GroupRecord, GroupRule
from ctonnx.prediction.series.slices import SliceRecord
from ctonnx.prediction.series.stream import predict_groups

GROUPS = [
    group_of([], name="none", error="no axial CT series"),
    group_of(["a/1", "a/2"], name="a"),
    group_of([], name="between", error="no axial CT series"),
    group_of(["b/1"], name="b"),
    group_of(["a/1"], name="again"),  # as a file of two groups would be
    group_of([], name="last", error="no axial CT series"),
]


def predict(groups: list[Group], ahead: int = 2) -> tuple[list[GroupRecord], list[str]]:
    """Predicts groups by a stream that reads files ahead, as that of a predictor."""
    pulled: list[str] = []

    def records(files: Iterator[str]) -> Iterator[Record]:
        waiting: list[str] = []
        for file in files:
            pulled.append(file)
            waiting.append(file)
            if len(waiting) > ahead:
                yield record(waiting.pop(0))
        yield from map(record, waiting)

    def record(file: str) -> Record:
        return Failure(file, "broken") if file == "a/2" else prediction(file, 0.75)

    rule = GroupRule.of(SPEC)
    assert rule is not None
    return list(predict_groups(groups, records, spec=SPEC, rule=rule, read=SliceRecord)), pulled


def test_each_group_has_its_result_in_order() -> None:
    found, pulled = predict(GROUPS)
    assert [record.name for record in found] == ["none", "a", "between", "b", "again", "last"]
    assert [type(record) for record in found] == [
        *(GroupFailure, GroupPrediction, GroupFailure, GroupPrediction, GroupPrediction, GroupFailure)
    ]
    assert [record.used for record in found if isinstance(record, GroupPrediction)] == [1, 1, 1]
    assert [record.failed for record in found] == [0, 1, 0, 0, 0, 0]
    assert pulled == ["a/1", "a/2", "b/1", "a/1"]


def test_stream_that_reads_everything_ahead_gives_the_same() -> None:
    everything, some = predict(GROUPS, ahead=99)[0], predict(GROUPS, ahead=0)[0]
    assert [record.as_dict() for record in everything] == [record.as_dict() for record in some]


def test_slice_that_is_twice_in_a_folder_is_predicted_once() -> None:
    def read(file: str) -> SliceRecord:
        return SliceRecord(file, series="s", instance=1, image="uid", is_dicom=True)

    rule = GroupRule.of(SPEC)
    assert rule is not None
    (found,) = predict_groups(
        [group_of(["a/1", "a/2"], by="folder")],
        lambda files: (prediction(file, 0.75) for file in files),
        spec=SPEC,
        rule=rule,
        read=read,
    )
    assert isinstance(found, GroupPrediction)
    assert (found.used, [one.reason for one in found.left_out]) == (1, ["exported twice"])


def test_groups_without_any_slice_are_all_failures() -> None:
    found, _ = predict([group for group in GROUPS if not group.files])
    assert [record.as_dict()["error"] for record in found] == ["no axial CT series"] * 3
