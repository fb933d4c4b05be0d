"""The queue of results: nothing is sent twice or lost, across restarts."""

import sqlite3
import time
from pathlib import Path

import pytest

from ctonnx.errors import DataError
from ctonnx.server.pacs.node.outbox import Outbox, Report


def finish(outbox: Outbox, series: str = "s", content: str = "c", uids: tuple[str, ...] = ("1.2", "1.3")) -> None:
    outbox.finish(
        series, content, 7, decision="negative", results=[(uid, "sr") for uid in uids], destinations=["A@h:1", "B@h:2"]
    )


def test_each_result_is_due_for_each_destination(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    finish(outbox)
    assert [(one.uid, one.destination, one.series, one.kind, one.attempts) for one in outbox.due(9)] == [
        ("1.2", "A@h:1", "s", "sr", 0),
        ("1.2", "B@h:2", "s", "sr", 0),
        ("1.3", "A@h:1", "s", "sr", 0),
        ("1.3", "B@h:2", "s", "sr", 0),
    ]
    assert len(outbox.due(3)) == 3
    assert outbox.content_of("s") == "c"
    assert outbox.content_of("t") is None


def test_results_are_due_by_destination_in_order(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    finish(outbox)
    assert [one.uid for one in outbox.due(9, "A@h:1")] == ["1.2", "1.3"]
    assert {one.destination for one in outbox.due(9, "A@h:1")} == {"A@h:1"}
    assert {one.destination for one in outbox.due(9, other_than=["A@h:1"])} == {"B@h:2"}
    assert outbox.due(9, other_than=["A@h:1", "B@h:2"]) == []


def test_a_sent_result_is_not_due_again_after_a_restart_or_a_repeated_prediction(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    finish(outbox)
    first = outbox.due(1)[0]
    outbox.mark_sent(first)
    assert outbox.is_needed("1.2")  # by the other destination
    outbox.close()
    outbox = Outbox(tmp_path)
    finish(outbox)
    assert (first.uid, first.destination) not in [(one.uid, one.destination) for one in outbox.due(9)]
    assert outbox.counts() == (3, 1, 0, 1, 0, 0)
    for item in outbox.due(9):
        outbox.mark_sent(item)
    assert not outbox.is_needed("1.2")
    assert outbox.counts() == (0, 4, 0, 1, 0, 0)


def test_a_failed_attempt_waits_and_a_dead_one_waits_for_retry(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    finish(outbox, uids=("1.2",))
    one, other = outbox.due(9)
    outbox.mark_failed(one, "it cannot be reached", wait=60)
    outbox.mark_failed(other, "it answered with status C000", wait=None)
    assert outbox.due(9) == []
    assert outbox.counts()[:3] == (1, 0, 1)
    assert [(row["state"], row["attempts"], row["error"]) for row in outbox.unsent(9)] == [
        ("dead", 1, "it answered with status C000"),
        ("queued", 1, "it cannot be reached"),
    ]
    assert outbox.retry() == 1
    assert {(item.destination, item.attempts) for item in outbox.due(9)} == {("A@h:1", 1), ("B@h:2", 0)}


@pytest.mark.parametrize(
    ("step", "waits"),
    [(-86_400, False), (-11, False), (-3, True), (0, True), (50, True), (61, False)],
)
@pytest.mark.parametrize("is_restarted", [False, True])
def test_no_result_waits_longer_as_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float, waits: bool, is_restarted: bool
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    outbox = Outbox(tmp_path)
    finish(outbox, uids=("1.2",))
    for item in outbox.due(9):
        outbox.mark_failed(item, "it cannot be reached", wait=70)
    now += 10
    assert outbox.due(9) == []
    now += step
    if is_restarted:
        outbox.close()
        outbox = Outbox(tmp_path)
    assert outbox.due(9) == [] if waits else len(outbox.due(9)) == 2
    assert len(outbox.due(1, "A@h:1")) == (not waits)


def test_rejections_are_counted_apart_from_other_failures(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    finish(outbox, uids=("1.2",))
    for is_rejection in (False, True, False):
        outbox.mark_failed(outbox.due(1)[0], "no", wait=-60, is_rejection=is_rejection)
    (item,) = [one for one in outbox.due(9) if one.attempts]
    assert (item.attempts, item.rejections) == (3, 1)
    outbox.mark_failed(item, "no", wait=None, is_rejection=True)
    outbox.retry()
    assert [(one.attempts, one.rejections) for one in outbox.due(9)] == [(0, 0)] * 2


def test_a_series_whose_prediction_ended_the_process_is_counted(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.start("s")
    outbox.close()
    outbox = Outbox(tmp_path)
    outbox.start("s")
    outbox.start("t")
    assert outbox.starts() == {"s": 2, "t": 1}
    finish(outbox)
    assert outbox.starts() == {"t": 1}


def test_a_series_and_its_results_are_recorded_together_or_not_at_all(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    with pytest.raises(sqlite3.Error):
        outbox.finish("s", "c", 1, decision=None, results=[("1", None)], destinations=["A"])  # type: ignore[list-item]
    assert outbox.content_of("s") is None
    finish(outbox)
    assert outbox.counts().predicted == 1


def test_old_rows_go_unless_a_result_is_not_sent(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    finish(outbox, "s", uids=("1.2",))
    finish(outbox, "t", uids=("1.3",))
    for item in outbox.due(9):
        if item.series == "s":
            outbox.mark_sent(item)
    outbox.forget(before=time.time() + 1)
    assert outbox.content_of("s") is None
    assert outbox.content_of("t") == "c"
    assert len(outbox.due(9)) == 2


def test_a_series_in_the_spool_or_one_that_came_again_is_not_forgotten(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for name in ("in spool", "again", "old"):
        finish(outbox, name, uids=())
    before = time.time()
    outbox.touch("again")
    outbox.forget(before=before, kept={"in spool": 0.0})
    assert [outbox.content_of(name) for name in ("in spool", "again", "old")] == ["c", "c", None]


def test_a_removed_series_is_known_for_90_days_more(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    finish(outbox, uids=())
    assert not outbox.lacks_removed("s", "late")
    outbox.note_removed("s")
    assert outbox.lacks_removed("s", "late")
    assert not outbox.lacks_removed("s", "c")
    outbox.forget(before=time.time() + 1)
    assert outbox.content_of("s") is None
    assert outbox.counts().predicted == 0
    assert outbox.lacks_removed("s", "late")
    finish(outbox, content="late", uids=())
    assert outbox.lacks_removed("s", "later")
    outbox.forget(before=time.time() + 91 * 24 * 3600)
    assert not outbox.lacks_removed("s", "late")


def test_former_report_is_that_of_the_version_before(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)

    def add(version: str, uid: str) -> None:
        former = outbox.former_report("s", version)
        report = Report(version, "9", uid, former)
        outbox.finish("s", version, 1, decision="negative", results=[(uid, "sr")], destinations=["A"], report=report)

    assert outbox.former_report("s", "a") is None
    add("a", "1.1")
    assert outbox.former_report("s", "a") is None  # it is made again
    assert outbox.former_report("s", "b") == ("9", "1.1")
    add("b", "1.2")
    add("b", "1.2")
    outbox.close()
    outbox = Outbox(tmp_path)
    assert outbox.former_report("s", "b") == ("9", "1.1")
    assert outbox.former_report("s", "a") == ("9", "1.2")
    assert outbox.former_report("t", "a") is None
    for item in outbox.due(9):
        outbox.mark_sent(item)
    outbox.forget(before=time.time() + 1)
    assert outbox.former_report("s", "c") == ("9", "1.2")
    outbox.forget(before=time.time() + 91 * 24 * 3600)
    assert outbox.former_report("s", "c") is None


def test_a_queue_of_a_later_release_is_rejected(tmp_path: Path) -> None:
    Outbox(tmp_path).close()
    base = sqlite3.connect(tmp_path / "queue.sqlite")
    base.execute("PRAGMA user_version = 2")
    base.close()
    with pytest.raises(DataError, match=r"expected a queue of version 1 .* found version 2; install a newer"):
        Outbox(tmp_path)
