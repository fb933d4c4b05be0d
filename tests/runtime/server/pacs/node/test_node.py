"""The node in this process, with a small model and destinations of the tests."""

import json
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.server.pacs.builders import write_series
from tests.runtime.server.pacs.node_process import eventually, send_files

from ctonnx.errors import CtonnxError
from ctonnx.prediction.predictor import Predictor
from ctonnx.server.pacs.node import node as module
from ctonnx.server.pacs.node.node import Node
from ctonnx.server.pacs.node.sender import Outcome
from ctonnx.server.pacs.node.settings import NodeSettings, ReceiverSettings
from ctonnx.server.pacs.node.spool import Spool
from ctonnx.server.pacs.results.document import ResultModel
from ctonnx.server.pacs.results.folder import write_object


class Place:
    """A destination that keeps the names of what it gets, or answers with an error."""

    def __init__(self, name: str = "A@h:1", answer: Callable[[], Outcome] = Outcome) -> None:
        self.name, self.answer, self.got = name, answer, list[str]()

    def send(self, files: Sequence[Path]) -> Generator[Outcome, None, None]:
        for file in files:
            outcome = self.answer()
            if outcome.error is None:
                self.got.append(file.stem)
            yield outcome


Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, opened: Predictor, described: ResultModel) -> Run:
    """Returns a context manager with a running node and the lines of its log."""

    @contextmanager
    def start(*places: Place, **settings: Any) -> Iterator[tuple[Node, list[str]]]:
        lines: list[str] = []
        found = NodeSettings(
            folder=tmp_path / "node", receiver=ReceiverSettings(port=0), **{"settle": 0.2, "kinds": ("sr",), **settings}
        )
        with Node(opened, described, found, places, lines.append) as node:
            thread = threading.Thread(target=node.run)
            thread.start()
            try:
                yield node, lines
            finally:
                node.stop()
                thread.join(timeout=60)
                assert not thread.is_alive()

    return start


def test_results_reach_every_destination_and_their_files_are_removed(run: Run, tmp_path: Path) -> None:
    first, second = Place("A@h:1"), Place("B@h:2")
    with run(first, second) as (node, lines):
        assert send_files(node.port, write_series(tmp_path / "scans", 2)) == [0, 0]
        assert eventually(lambda: node.outbox.counts().sent and not node.outbox.counts().queued)
        assert set(first.got) == set(second.got) != set()
        assert len(first.got) == len(set(first.got))
        assert eventually(lambda: not list(node.spool.results.iterdir()))
        assert lines[0].startswith("series ")
        assert (node.received, node.rejected, node.waiting) == (2, 0, 0)
        assert sum(node.outcomes.values()) == 1


def test_file_stays_until_the_last_destination_has_it(run: Run, tmp_path: Path) -> None:
    has_it = threading.Event()
    slow = Place("B@h:2", lambda: Outcome() if has_it.is_set() else Outcome("it cannot be reached"))
    first = Place()
    with run(first, slow) as (node, _):
        send_files(node.port, write_series(tmp_path / "scans", 1))
        assert eventually(lambda: first.got and node.outbox.unsent(9) and node.outbox.unsent(9)[0]["error"])
        assert {file.stem for file in node.spool.results.iterdir()} == set(first.got)
        has_it.set()
        node.outbox.retry()
        assert eventually(lambda: not list(node.spool.results.iterdir()))
        assert slow.got == first.got


def test_series_is_complete_after_the_settle_time_and_late_instances_have_a_second_result(
    run: Run, tmp_path: Path
) -> None:
    place = Place()
    first, second, late = write_series(tmp_path / "scans", 3)
    with run(place, settle=1.0) as (node, lines):
        send_files(node.port, [first])
        time.sleep(0.6)  # below the settle time, which begins again
        send_files(node.port, [second])
        time.sleep(0.6)
        assert lines == []
        assert eventually(lambda: len(lines) == 1)
        assert ": 2 images, " in lines[0]
        send_files(node.port, [late])
        assert eventually(lambda: len(lines) == 2)
        assert ": 3 images, " in lines[1]
        assert eventually(lambda: not node.outbox.counts().queued)
        assert len(place.got) == len(set(place.got)) >= 2


def test_instances_of_an_earlier_start_are_predicted(run: Run, tmp_path: Path) -> None:
    files = write_series(tmp_path / "scans", 2)
    with run(Place(), settle=3600) as (node, _):
        send_files(node.port, files)
    place = Place()
    with run(place) as (node, lines):
        assert eventually(lambda: place.got)
        assert ": 2 images, " in lines[0]
    with run(place) as (node, lines):
        assert eventually(lambda: node.waiting == 0)
        assert lines == []


def test_destination_that_raises_or_was_removed_does_not_stop_the_others(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Outcome:
        raise RuntimeError("P1^Test")

    good = Place("B@h:2")
    with run(Place("A@h:1", fail), good) as (node, lines):
        send_files(node.port, write_series(tmp_path / "scans", 1))
        assert eventually(lambda: good.got and node.outbox.unsent(9) and node.outbox.unsent(9)[0]["error"])
        assert node.outbox.unsent(9)[0]["error"] == "an error of ctonnx: RuntimeError"
    with run(good) as (node, lines):
        node.outbox.retry()
        assert eventually(lambda: node.outbox.counts().dead)
        assert node.outbox.unsent(1)[0]["error"] == "it is not a destination any more"
        assert "P1" not in "".join(lines)


def test_silent_destination_does_not_delay_the_others(run: Run, tmp_path: Path) -> None:
    is_over = threading.Event()

    def wait() -> Outcome:
        is_over.wait(30)
        return Outcome("it cannot be reached")

    other = Place("B@h:2")
    with run(Place("A@h:1", wait), other) as (node, _):
        send_files(node.port, write_series(tmp_path / "scans", 1))
        try:
            assert eventually(lambda: other.got, seconds=20)
        finally:
            is_over.set()


def test_result_whose_file_is_missing_is_made_again(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_there = threading.Event()
    place = Place(answer=lambda: Outcome() if is_there.is_set() else Outcome("it cannot be reached"))
    with run(place, kinds=("sr", "sc")) as (node, lines):
        send_files(node.port, write_series(tmp_path / "scans", 1))
        assert eventually(lambda: node.outbox.counts().queued)
        files = {file.name: file.unlink() for file in node.spool.results.iterdir()}
        is_there.set()
        node.outbox.retry()
        assert eventually(lambda: len(lines) == 2)
        assert {file.name for file in node.spool.results.iterdir()} <= set(files)
        assert eventually(lambda: node.outbox.retry() == 0 and not node.outbox.counts().queued)
        assert {f"{uid}.dcm" for uid in place.got} == set(files)


def test_result_whose_file_is_missing_is_dead_without_its_series(run: Run, tmp_path: Path) -> None:
    with run(Place("A@h:1", lambda: Outcome("it cannot be reached"))) as (node, _):
        send_files(node.port, write_series(tmp_path / "scans", 1))
        assert eventually(lambda: node.outbox.counts().queued)
        for file in node.spool.results.iterdir():
            file.unlink()
        for series in node.spool.series():
            node.spool.remove(series)
        node.outbox.retry()
        assert eventually(lambda: node.outbox.counts().dead)
        reason = "its file is missing, and its series is not in the spool or has other instances by now"
        assert node.outbox.unsent(1)[0]["error"] == reason


def test_full_disk_is_tried_again(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctonnx.server.pacs.node import worker

    real, full = write_object, threading.Event()
    full.set()

    def write(*arguments: Any) -> None:
        if full.is_set():
            raise OSError(28, "No space left on device")
        real(*arguments)

    monkeypatch.setattr(worker, "write_object", write)
    monkeypatch.setattr(module, "_AFTER_FAILURE", 0.3)
    place = Place()
    with run(place) as (node, lines):
        send_files(node.port, write_series(tmp_path / "scans", 1))
        assert eventually(lambda: lines)
        assert lines[0] == (
            "expected space for the results of a series, found none (No space left on device); tried again in 0 s"
        )
        full.clear()
        assert eventually(lambda: place.got)


def test_error_of_the_disk_does_not_end_the_node(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, errors = Spool.files, [OSError(5, "Input/output error")]

    def files(self: Spool, series: str) -> list[Path]:
        if errors:
            raise errors.pop()
        return real(self, series)

    monkeypatch.setattr(Spool, "files", files)
    monkeypatch.setattr(module, "_AFTER_FAILURE", 0.3)
    place = Place()
    with run(place) as (node, lines):
        send_files(node.port, write_series(tmp_path / "scans", 1))
        assert eventually(lambda: place.got)
        assert lines[0].endswith(": OSError; tried again in 0 s")


def test_error_of_the_queue_does_not_end_the_sending(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    from ctonnx.server.pacs.node.outbox import Outbox

    real, errors = Outbox.due, [sqlite3.OperationalError("disk I/O error")]

    def due(self: Outbox, *arguments: Any, **options: Any) -> Any:
        if errors:
            raise errors.pop()
        return real(self, *arguments, **options)

    monkeypatch.setattr(Outbox, "due", due)
    monkeypatch.setattr(module, "_AFTER_FAILURE", 0.1)
    monkeypatch.setattr(module, "_POLL", 0.05)
    place = Place()
    with run(place) as (node, lines):
        send_files(node.port, write_series(tmp_path / "scans", 1))
        assert eventually(lambda: place.got)
        assert "results wait 0 s: OperationalError" in lines


def test_finished_series_make_room_also_those_of_an_earlier_start(run: Run, tmp_path: Path) -> None:
    first, second = write_series(tmp_path / "1", 2), write_series(tmp_path / "2", 1)
    with run(kinds=()) as (node, lines):
        send_files(node.port, first)
        assert eventually(lambda: len(lines) == 1)
    with run(kinds=(), spool_limit=17_000) as (node, _):
        assert eventually(lambda: not node.spool.is_full())
        assert node.spool.series() == {}
        assert send_files(node.port, second) == [0]


def test_full_spool_makes_room_without_a_prediction(run: Run, tmp_path: Path) -> None:
    first, second = write_series(tmp_path / "1", 2), write_series(tmp_path / "2", 1)
    with run(kinds=()) as (node, lines):
        send_files(node.port, first)
        assert eventually(lambda: len(lines) == 1)
        node.spool.limit = node.spool.bytes  # reached after the last prediction
        assert send_files(node.port, second) == [0xA700]
        assert eventually(lambda: node.spool.series() == {})
        assert send_files(node.port, second) == [0]


def test_housekeeping_makes_room(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HOUSEKEEPING", 0.1)
    with run(kinds=()) as (node, lines):
        send_files(node.port, write_series(tmp_path / "1", 2))
        assert eventually(lambda: len(lines) == 1)
        node.spool.limit = node.spool.bytes
        assert eventually(lambda: node.spool.series() == {})


def test_instances_are_removed_after_their_time_but_never_before_their_results(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HOUSEKEEPING", 0.1)
    place = Place()
    with run(place, keep=0.5, settle=1.5) as (node, lines):
        send_files(node.port, write_series(tmp_path / "scans", 1))
        time.sleep(1.0)
        assert len(node.spool.series()) == 1  # its time is over, and it is not predicted yet
        assert eventually(lambda: place.got)
        assert eventually(lambda: node.spool.series() == {} and node.outbox.counts().sent == 0)
        assert len(lines) == 1


def test_series_that_came_again_is_removed_and_not_predicted_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HOUSEKEEPING", 0.1)
    files, place = write_series(tmp_path / "scans", 1), Place()
    with run(place, keep=3.0) as (node, lines):
        send_files(node.port, files)
        assert eventually(lambda: place.got)
        time.sleep(2)
        send_files(node.port, files)
        time.sleep(2)
        assert len(node.spool.series()) == 1
        assert eventually(lambda: node.spool.series() == {})
        assert len(lines) == 1


def test_instance_that_comes_while_its_finished_series_is_removed_stays(run: Run, tmp_path: Path) -> None:
    first, late = write_series(tmp_path / "scans", 2)
    with run(kinds=()) as (node, lines):
        send_files(node.port, [first])
        assert eventually(lambda: len(lines) == 1)
        node.stop()
        copy = node.spool.incoming / "late.dcm"
        copy.write_bytes(late.read_bytes())
        series = node.spool.take(copy).series  # and the node does not know it yet
        node._make_room()
        node._remove_finished(series)
        assert len(node.spool.files(series)) == 2


def test_stop_does_not_wait_for_the_rest_of_a_batch(run: Run, tmp_path: Path) -> None:
    def wait() -> Outcome:
        time.sleep(0.5)
        return Outcome("it cannot be reached")

    with run(Place("A@h:1", wait), kinds=("sr", "sc")) as (node, lines):
        for number in range(4):
            send_files(node.port, write_series(tmp_path / f"{number}", 1))
        assert eventually(lambda: len(lines) == 4)
        start = time.monotonic()
        node.stop()
        assert eventually(lambda: "ctonnx-sender" not in [one.name for one in threading.enumerate()])
        assert time.monotonic() - start < 3
    assert json.loads((tmp_path / "node/audit.jsonl").read_text().splitlines()[-1])["state"] == "stopped"


def test_folder_has_one_node(run: Run, tmp_path: Path, opened: Predictor, described: ResultModel) -> None:
    with run() as (node, _):
        settings = NodeSettings(folder=tmp_path / "node", receiver=ReceiverSettings(port=0))
        with pytest.raises(CtonnxError, match="expected a folder that no other node uses"):
            Node(opened, described, settings, [])
        assert send_files(node.port, write_series(tmp_path / "scans", 1)) == [0]


def test_port_that_is_taken_leaves_the_folder_free(
    run: Run, tmp_path: Path, opened: Predictor, described: ResultModel
) -> None:
    with run() as (node, _):
        settings = NodeSettings(folder=tmp_path / "other", receiver=ReceiverSettings(port=node.port))
        with pytest.raises(CtonnxError, match="choose another --host or --port"):
            Node(opened, described, settings, [])
    with Node(opened, described, replace(settings, receiver=ReceiverSettings(port=0)), []):
        pass


def test_little_free_space_is_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctonnx.prediction.series.pseudonyms import Pseudonyms

    spool = Spool(tmp_path, Pseudonyms(bytes(32)), limit=10**9)
    found = []
    for free in (100, 400, 600, 900):
        monkeypatch.setattr(Spool, "free_bytes", lambda self, free=free: free * 1024**2)
        found.append((spool.is_full(), spool.is_nearly_full(), spool.has_room()))
    assert found == [(True, True, False), (False, True, False), (False, False, False), (False, False, True)]


@pytest.mark.parametrize(("starts", "expected"), [(0, [[0, 1, 2]]), (1, [[1, 2], [0]])])
def test_complete_series_are_one_stream_but_one_that_ended_the_process_is_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts: int, expected: list[list[int]]
) -> None:
    streams: list[list[str]] = []

    def process(series: Iterator[str]) -> Iterator[Any]:
        streams.append([])
        for name in series:
            streams[-1].append(name)
            node.outbox.start(name)
        yield from ()

    names: list[str] = []
    with run(settle=600.0) as (node, _):
        monkeypatch.setattr(node._worker, "process", process)
        for number in range(3):
            send_files(node.port, write_series(tmp_path / str(number), 1))
            names += set(node.spool.series()) - set(names)
        for _ in range(starts):
            node.outbox.start(names[0])
        long_ago = time.monotonic() - 700
        with node._changed:
            node._arrived.update({name: long_ago + number for number, name in enumerate(names)})
            node._changed.notify_all()
        assert eventually(lambda: sum(map(len, streams)) == 3)
    assert [[names.index(name) for name in stream] for stream in streams] == expected
