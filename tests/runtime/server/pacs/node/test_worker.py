"""From a complete series to its results in the queue, with a small model."""

import errno
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from tests.runtime.server.pacs.builders import ct_image, new_uid, write_series

from ctonnx.errors import CtonnxError, NotEnoughMemory
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.prediction.series.reduction import GroupPrediction
from ctonnx.prediction.series.stream import predict_groups
from ctonnx.server.monitoring.usage_log import UsageLog, days_in_use, read_counts
from ctonnx.server.pacs.audit import AuditLog, audit_lines
from ctonnx.server.pacs.node import worker
from ctonnx.server.pacs.node.outbox import Outbox
from ctonnx.server.pacs.node.spool import Spool
from ctonnx.server.pacs.node.worker import DiskFull, SeriesWorker, required_rule
from ctonnx.server.pacs.results.document import ResultModel
from ctonnx.server.pacs.results.folder import made_objects
from ctonnx.system.files import sync_folder


class Desk:
    """A worker with its spool, queue and log."""

    def __init__(self, folder: Path, predictor: Predictor, model: ResultModel, *destinations: str) -> None:
        names = Pseudonyms(bytes(32))
        self.predictor = predictor
        self.folder, self.spool = folder, Spool(folder, names, limit=10**9)
        self.outbox, self.audit = Outbox(folder), AuditLog(folder, bytes(32))
        self.worker = SeriesWorker(
            predictor,
            model,
            spool=self.spool,
            outbox=self.outbox,
            audit=self.audit,
            names=names,
            kinds=("sr", "sc"),
            destinations=destinations,
        )

    def close(self) -> None:
        self.outbox.close()
        self.audit.close()

    def take(self, *files: Path) -> str:
        (series,) = {self.spool.take(file).series for file in files}
        return series

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in audit_lines(self.folder)]


def processed(desk: Desk, *series: str) -> Any:
    """Returns the outcome for a series, or None; a list of those for several."""
    outcomes = list(desk.worker.process(series))
    return outcomes if len(series) > 1 else outcomes[0] if outcomes else None


def failing(error: BaseException) -> Callable[[Iterator[str]], Iterator[Any]]:
    """Returns a model that raises an error at the first image."""

    def predict(files: Iterator[str]) -> Iterator[Any]:
        for _ in files:
            raise error
        yield from ()

    return predict


@pytest.fixture
def desk(tmp_path: Path, opened: Predictor, described: ResultModel) -> Iterator[Desk]:
    found = Desk(tmp_path / "node", opened, described, "A@h:1", "B@h:2")
    yield found
    found.close()


def test_series_has_its_results_in_the_queue_and_a_line_in_the_log(desk: Desk, tmp_path: Path) -> None:
    series = desk.take(*write_series(tmp_path / "scans", 3))
    outcome = processed(desk, series)
    assert outcome is not None
    assert (outcome.series, outcome.instances, outcome.error) == (series, 3, None)
    items = desk.outbox.due(99)
    assert {item.destination for item in items} == {"A@h:1", "B@h:2"}
    assert {"sr", "sc"} <= {item.kind for item in items}
    files = {file.stem: dcmread(file) for file in (tmp_path / "node/results").iterdir()}
    assert set(files) == {item.uid for item in items}
    assert {file.PatientID for file in files.values()} == {"P1"}
    (line,) = desk.events
    assert (line["event"], line["series"], line["instances"]) == ("series", series, 3)
    assert line["decision"] == outcome.decision
    assert set(line["results"]) == set(files)
    assert desk.outbox.starts() == {}


def test_one_slice_of_each_series_is_in_the_usage_log(desk: Desk, tmp_path: Path) -> None:
    log = tmp_path / "usage"
    with UsageLog(log, "m", pytest.fail) as usage:
        desk.worker._usage = usage
        for number in range(2):
            processed(desk, desk.take(*write_series(tmp_path / f"scans{number}", 3)))
    (day,) = days_in_use(log, "m")
    found = read_counts(log, "m", day, day)
    assert all(sum(found[quantity].values()) == 2 for quantity in ("class", "decision", "score", "size"))
    assert desk.worker.counted == {(name, bin_): count for name, bins in found.items() for bin_, count in bins.items()}


def test_series_is_predicted_once(desk: Desk, tmp_path: Path) -> None:
    files = write_series(tmp_path / "scans", 2)
    again = [file.with_suffix(".again") for file in files]
    for file, copy in zip(files, again, strict=True):
        copy.write_bytes(file.read_bytes())
    series = desk.take(*files)
    assert processed(desk, series) is not None
    assert processed(desk, series) is None
    desk.take(*again)
    assert processed(desk, series) is None
    assert processed(desk, "no-such-series") is None


def test_late_instances_have_results_of_their_own(desk: Desk, tmp_path: Path) -> None:
    first, second, late = write_series(tmp_path / "scans", 3)
    series = desk.take(first, second)
    processed(desk, series)
    before = {item.uid for item in desk.outbox.due(99)}
    desk.take(late)
    outcome = processed(desk, series)
    assert outcome is not None
    assert outcome.instances == 3
    assert len({item.uid for item in desk.outbox.due(99)}) == 2 * len(before)


def test_late_instance_of_a_removed_series_is_never_negative(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = made_objects, list[Any]()

    def predict(*arguments: Any, **options: Any) -> Any:
        for record in predict_groups(*arguments, **options):
            assert isinstance(record, GroupPrediction)
            yield replace(record, decision="negative", reason=None)

    def made(group: Any, record: Any, *arguments: Any, **options: Any) -> Any:
        seen.append((record.decision, record.reason))
        return real(group, record, *arguments, **options)

    monkeypatch.setattr(worker, "predict_groups", predict)
    monkeypatch.setattr(worker, "made_objects", made)
    first, late = write_series(tmp_path / "scans", 2)
    series = desk.take(first)
    processed(desk, series)
    desk.outbox.note_removed(series)
    desk.spool.remove(series)
    desk.take(late)
    outcome = processed(desk, series)
    assert outcome is not None
    assert outcome.decision == "refer"
    reason = "earlier instances of the series were removed after their prediction, and a finding may be there"
    assert seen == [("negative", None), ("refer", reason)]


@pytest.mark.parametrize("changes", [{"PatientName": "Other^Name"}, {"PixelData": bytes(2 * 64 * 64)}])
def test_corrected_instance_has_results_of_its_own(desk: Desk, tmp_path: Path, changes: dict[str, Any]) -> None:
    first, second = write_series(tmp_path / "scans", 2)
    corrected = dcmread(first)
    for name, value in changes.items():
        setattr(corrected, name, value)
    corrected.save_as(tmp_path / "corrected.dcm")
    series = desk.take(first, second)
    processed(desk, series)
    before = {item.uid for item in desk.outbox.due(99)}
    desk.take(tmp_path / "corrected.dcm")
    outcome = processed(desk, series)
    assert outcome is not None
    assert outcome.instances == 2
    assert len({item.uid for item in desk.outbox.due(99)} - before) >= 2


def test_series_that_cannot_be_predicted_fails_once_with_its_reason(desk: Desk, tmp_path: Path) -> None:
    image = ct_image(new_uid(), new_uid())
    image.PixelData = b"\0\0"
    image.save_as(tmp_path / "damaged.dcm", enforce_file_format=True)
    series = desk.take(tmp_path / "damaged.dcm")
    outcome = processed(desk, series)
    assert outcome is not None
    assert outcome.decision is None
    assert outcome.error is not None
    assert (outcome.kind, outcome.left_out, outcome.results) == ("failed", None, 0)
    assert processed(desk, series) is None
    assert desk.outbox.counts().failed == 1
    assert desk.events[-1]["error"] == outcome.error
    assert "P1" not in json.dumps(desk.events)


def test_series_whose_slices_are_all_left_out_has_not_failed(desk: Desk, tmp_path: Path) -> None:
    study, name = new_uid(), new_uid()
    for number in (1, 2, 3):
        image = ct_image(study, name, number)
        image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        if number == 3:
            image.Modality = "MR"
        image.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    series = desk.take(*(tmp_path / f"{number}.dcm" for number in (1, 2, 3)))
    other = desk.take(*write_series(tmp_path / "scans", 1))
    outcome, predicted = processed(desk, series, other)
    if outcome.series != series:  # either may end first
        outcome, predicted = predicted, outcome
    assert (outcome.series, outcome.instances, outcome.kind, outcome.error) == (series, 3, "left out", None)
    assert outcome.left_out == "2 localizer, 1 not a CT"
    assert (predicted.kind, predicted.left_out) == (predicted.decision, None)
    counts = desk.outbox.counts()
    assert (counts.predicted, counts.failed, counts.left_out) == (1, 0, 1)
    (line,) = [event for event in desk.events if event["series"] == series]
    assert (line["decision"], line["error"], line["left_out"]) == (None, None, "2 localizer, 1 not a CT")
    assert processed(desk, series) is None
    assert desk.outbox.starts() == {}


@pytest.mark.parametrize(
    ("where", "error", "raised"),
    [
        ("results", OSError(errno.ENOSPC, "No space left on device"), DiskFull),
        ("audit", OSError(errno.ENOSPC, "No space left on device"), DiskFull),
        ("start", sqlite3.OperationalError("database or disk is full"), DiskFull),
        ("finish", sqlite3.OperationalError("database or disk is full"), DiskFull),
        ("predict", NotEnoughMemory("expected 1 GB"), NotEnoughMemory),
    ],
)
def test_what_the_machine_lacks_for_a_moment_is_no_failure_of_the_series(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception, raised: type[Exception]
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    series = desk.take(*write_series(tmp_path / "scans", 1))
    with monkeypatch.context() as patch:
        match where:
            case "results":
                patch.setattr("ctonnx.server.pacs.node.worker.write_object", fail)
            case "audit":
                patch.setattr(desk.audit, "append", fail)
            case "predict":
                patch.setattr(desk.predictor, "predict_many", failing(error))
            case name:
                patch.setattr(desk.outbox, name, fail)
        for _ in range(6):  # more often than a prediction may end the process
            with pytest.raises(raised):
                processed(desk, series)
    outcome = processed(desk, series)
    assert outcome is not None
    assert outcome.error is None
    assert len(desk.events) == 1 + 6 * (where == "finish")


def test_names_of_results_are_on_the_disk_before_the_queue_has_them(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = sync_folder, list[tuple[Path, int, int]]()

    def sync(folder: Path) -> None:
        seen.append((folder, len(list(folder.iterdir())), len(desk.outbox.due(9))))
        real(folder)

    monkeypatch.setattr(worker, "sync_folder", sync)
    processed(desk, desk.take(*write_series(tmp_path / "scans", 1)))
    ((folder, files, queued),) = seen
    assert (folder, queued) == (desk.spool.results, 0)
    assert files >= 2


def test_unexpected_exception_fails_the_series_and_its_text_is_not_kept(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = desk.take(*write_series(tmp_path / "scans", 1))
    monkeypatch.setattr(desk.predictor, "predict_many", failing(KeyError("P1^Test")))
    outcome = processed(desk, series)
    assert outcome is not None
    assert (outcome.decision, outcome.error) == (None, "an error of ctonnx: KeyError")
    assert "P1" not in json.dumps(desk.events)
    assert processed(desk, series) is None


def test_series_whose_prediction_ended_the_process_five_times_fails(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = desk.take(*write_series(tmp_path / "scans", 1))
    monkeypatch.setattr(desk.predictor, "predict_many", failing(SystemExit()))
    for _ in range(5):
        with pytest.raises(SystemExit):
            processed(desk, series)
    outcome = processed(desk, series)
    assert outcome is not None
    assert outcome.error == "its prediction ended the node 5 times, possibly as memory was short"
    assert desk.outbox.starts() == {}


def test_series_of_one_stream_have_the_results_that_each_has_alone(
    desk: Desk, tmp_path: Path, opened: Predictor, described: ResultModel
) -> None:
    scans = [write_series(tmp_path / "scans", count) for count in (3, 1, 9)]
    alone = Desk(tmp_path / "alone", opened, described, "A@h:1", "B@h:2")
    copies = [[Path(shutil.copy(file, tmp_path / file.name)) for file in files] for files in scans]
    for files in copies:
        assert processed(alone, alone.take(*files)).error is None
    taken = [desk.take(*files) for files in scans]
    outcomes = processed(desk, *taken)
    assert [(one.series, one.instances, one.error) for one in outcomes] == [
        (name, len(files), None) for name, files in zip(taken, scans, strict=True)
    ]
    expected = {file.name: file.read_bytes() for file in alone.spool.results.iterdir()}
    assert {file.name: file.read_bytes() for file in desk.spool.results.iterdir()} == expected
    assert len(expected) >= 6
    assert desk.outbox.starts() == {}
    alone.close()


@pytest.mark.parametrize("error", [KeyError("P1^Test"), OSError(errno.EIO, "Input/output error")])
def test_error_of_one_series_of_a_stream_fails_it_alone(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    series = [desk.take(*write_series(tmp_path / "scans", 2)) for _ in range(3)]
    real = desk.predictor.predict_many

    def predict(files: Iterator[str], **options: Any) -> Iterator[Any]:
        def checked() -> Iterator[str]:
            for file in files:
                if series[1] in file:
                    raise error
                yield file

        return real(checked(), **options)

    monkeypatch.setattr(desk.predictor, "predict_many", predict)
    outcomes = {one.series: one for one in processed(desk, *series)}
    reason = "Input/output error" if isinstance(error, OSError) else "an error of ctonnx: KeyError"
    assert [outcomes[name].error for name in series] == [None, reason, None]
    assert desk.outbox.starts() == {}
    assert processed(desk, *series) == []


def test_series_that_cannot_begin_does_not_end_the_stream(desk: Desk, tmp_path: Path) -> None:
    series = [desk.take(*write_series(tmp_path / "scans", 1)) for _ in range(3)]
    for _ in range(5):
        desk.outbox.start(series[1])
    outcomes = {one.series: one.error for one in processed(desk, "no-such-series", *series)}
    assert (outcomes[series[0]], outcomes[series[2]]) == (None, None)
    assert "ended the node 5 times" in str(outcomes[series[1]])


def test_the_next_series_is_taken_before_the_results_of_one_are_made(desk: Desk, tmp_path: Path) -> None:
    series = [desk.take(*write_series(tmp_path / "scans", 1)) for _ in range(2)]
    taken: list[str] = []

    def complete() -> Iterator[str]:
        for name in series:
            taken.append(name)
            yield name

    next(iter(desk.worker.process(complete())))
    assert taken == series


def test_model_without_an_operating_point_is_an_error(model: Path) -> None:
    with Predictor(model) as predictor:
        predictor.spec = replace(predictor.spec, operating_point=None)
        with pytest.raises(CtonnxError, match="expected a model with an operating point for decisions, found none in"):
            required_rule(predictor)
