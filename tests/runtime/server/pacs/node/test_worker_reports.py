"""Reports of a series that is predicted more than once: the former one is named."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydicom import dcmread
from tests.runtime.server.pacs.builders import write_series
from tests.runtime.server.pacs.node.test_worker import Desk, desk, processed

from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.server.pacs.node.worker import SeriesWorker
from ctonnx.server.pacs.results.document import ResultModel
from ctonnx.server.pacs.results.folder import KINDS

__all__ = ["desk"]  # a fixture


def reports_of(desk: Desk) -> list[Any]:
    """Returns the reports in the order in which they were queued, each once."""
    uids = dict.fromkeys(item.uid for item in desk.outbox.due(999) if item.kind == "sr")
    return [dcmread(desk.spool.results / f"{uid}.dcm") for uid in uids]


def former_of(report: Any) -> list[tuple[str, str, str]]:
    return [
        (study.StudyInstanceUID, series.SeriesInstanceUID, one.ReferencedSOPInstanceUID)
        for study in report.get("PredecessorDocumentsSequence", ())
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    ]


def test_a_later_report_names_the_former_one(
    desk: Desk, tmp_path: Path, opened: Predictor, described: ResultModel
) -> None:
    files = write_series(tmp_path / "scans", 4)
    for number, file in enumerate(files[:3]):
        series = desk.take(file)
        processed(desk, series)
        desk.close()  # it is known after a restart, too
        desk.__init__(desk.folder, opened, described, "A@h:1", "B@h:2")  # type: ignore[misc]
        assert len(reports_of(desk)) == number + 1
    first, second, third = reports_of(desk)
    assert former_of(first) == []
    assert former_of(second) == [(first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID)]
    assert former_of(third) == [(first.StudyInstanceUID, first.SeriesInstanceUID, second.SOPInstanceUID)]
    other = SeriesWorker(
        opened,
        replace(described, sha256="cd" * 32),
        spool=desk.spool,
        outbox=desk.outbox,
        audit=desk.audit,
        names=Pseudonyms(bytes(32)),
        kinds=KINDS[:1],
        destinations=("A@h:1",),
    )
    list(other.process([desk.take(files[3])]))
    fourth = reports_of(desk)[-1]
    assert fourth.SeriesInstanceUID != third.SeriesInstanceUID  # of another model
    assert former_of(fourth) == [(third.StudyInstanceUID, third.SeriesInstanceUID, third.SOPInstanceUID)]


def test_a_report_that_is_made_again_is_the_same_object(desk: Desk, tmp_path: Path) -> None:
    first, second = write_series(tmp_path / "scans", 2)
    for file in (first, second):
        series = desk.take(file)
        processed(desk, series)
    before = {file.name: file.read_bytes() for file in desk.spool.results.iterdir()}
    for file in desk.spool.results.iterdir():
        if file.name.removesuffix(".dcm") == reports_of(desk)[-1].SOPInstanceUID:
            lost = file
    lost.unlink()
    desk.outbox.reopen(series)
    processed(desk, series)
    assert {file.name: file.read_bytes() for file in desk.spool.results.iterdir()} == before
    assert len(reports_of(desk)) == 2


def test_a_report_of_the_first_version_again_is_a_new_one_after_the_second(desk: Desk, tmp_path: Path) -> None:
    (file,) = write_series(tmp_path / "scans", 1)
    original, corrected = file.read_bytes(), dcmread(file)
    corrected.PatientName = "Other^Name"
    for number in range(3):
        corrected.save_as(file) if number == 1 else file.write_bytes(original)
        processed(desk, desk.take(file))
    first, second, third = reports_of(desk)
    assert [str(one.PatientName) for one in (first, second, third)] == ["P1^Test", "Other^Name", "P1^Test"]
    assert [one[2] for one in (*former_of(second), *former_of(third))] == [first.SOPInstanceUID, second.SOPInstanceUID]
