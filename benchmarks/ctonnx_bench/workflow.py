"""A benchmark from its settings to its reports: what is refused first, what is written, and what makes it fail."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ctonnx.errors import CtonnxError
from ctonnx.parity.rounding import exactly, shown
from ctonnx.system.temporary_files import remove_leftovers
from ctonnx.system.text import Log
from ctonnx_bench.analysis.best_settings import keep
from ctonnx_bench.analysis.earlier import read_report
from ctonnx_bench.analysis.regression import (
    Change,
    cautions,
    compare_reports,
    missing,
    refuse_other_measurement,
    regressed,
    wrong_before,
)
from ctonnx_bench.benchmark import run_benchmark
from ctonnx_bench.cases.settings import Settings
from ctonnx_bench.report.files import output_folder, try_folder, write_reports
from ctonnx_bench.report.publishing import publish, refuse_other_file

__all__ = ["FAIL_OVER", "Report", "ReportOptions", "measure_and_report"]

FAIL_OVER = 0.10
"""By which share a figure may be worse than in the earlier report."""


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What becomes of the figures.

    Attributes:
        output: A folder for the reports; None takes `bench/` in the models' run.
        baseline: An earlier bench.json to compare with.
        fail_over: See `FAIL_OVER`.
        published: A Markdown document to write a section in.
        hardware: what the machine is called there.
    """

    output: Path | None = None
    baseline: Path | None = None
    fail_over: float = FAIL_OVER
    published: Path | None = None
    hardware: str | None = None


@dataclass(frozen=True)
class Report:
    """A benchmark that was measured and written.

    Attributes:
        document: what bench.json holds.
        changes: Against the earlier report; None where there was none to compare with.
        said: what was done, a line for each thing.
        failures: what makes it fail; none where all is as it should be.
    """

    document: dict[str, Any]
    changes: list[Change] | None
    said: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def measure_and_report(settings: Settings, ends: ReportOptions, *, command: str, log: Log) -> Report:
    """Measures, compares with an earlier report, writes the reports, and publishes what may be published.

    Args:
        settings: what is measured, and how.
        ends: what becomes of it.
        command: as it was typed, for the report.
        log: Called with each progress message.

    Raises:
        CtonnxError: ctonnx cannot run as it was asked to, or the earlier report is of something else.
        OSError: A report cannot be written; it is tried before anything is measured.
    """
    folder = ends.output or output_folder(settings.models)
    try_folder(folder)
    places = [folder, *(model if model.is_dir() else model.parent for model in settings.models)]
    remove_leftovers(places if ends.published is None else [*places, ends.published.parent], log)
    if ends.published is not None:
        refuse_other_file(ends.published)
        try_folder(ends.published.parent)
    if ends.baseline is not None and Path(os.path.realpath(ends.baseline)).parent == Path(os.path.realpath(folder)):
        raise CtonnxError(
            f"expected an earlier report outside '{folder}', where the reports are replaced and the next comparison "
            f"would be with this one, found '{ends.baseline}'; keep it elsewhere, or name another --output"
        )
    earlier = None if ends.baseline is None else read_report(ends.baseline)
    if earlier is not None:
        refuse_other_measurement(earlier, settings)
    document = run_benchmark(settings, command=command, log=log)
    report = Report(document, None)
    try:
        report = Report(document, None if earlier is None else _compare(earlier, document, ends.fail_over))
    finally:  # what took long to measure is not lost where there is nothing to compare
        report.said.extend(write_reports(document, folder))
    report.failures.extend(_wrong(document))
    if earlier is not None:
        report.failures.extend(_worse(report.changes or [], ends.fail_over))
        report.failures.extend(
            f"expected {name} to have been right in the earlier report, found that it had failed: its speed is nothing "
            "to compare with"
            for name in wrong_before(earlier, document)
        )
        report.failures.extend(
            f"expected {name}, which the earlier report has, found it was not measured now"
            for name in missing(earlier, document)
        )
    if settings.sweep:
        report.said.extend(keep(document))
    if ends.published is not None:
        _publish(report, ends.published, ends.hardware)
    return report


def _compare(earlier: Mapping[str, Any], document: dict[str, Any], fail_over: float) -> list[Change]:
    """Returns the changes, which the document keeps too."""
    changes = compare_reports(earlier, document)
    document["compared_with"] = {
        "created": earlier["created"],
        "fail_over": fail_over,
        "changes": [{**asdict(change), "worse": change.worse} for change in changes],
        "cautions": cautions(earlier, document),
    }
    return changes


def _wrong(document: Mapping[str, Any]) -> list[str]:
    found = [
        f"expected right answers, found wrong ones of {case['name']}, however fast"
        for case in document["cases"]
        if case["own"] and case["failures"] and case["name"] not in document["broken"]
    ]
    return found + [
        f"expected {name} to be measured in every round, found that it failed: {reason}"
        for name, reason in document["broken"].items()
    ]


def _worse(changes: list[Change], fail_over: float) -> list[str]:
    return [
        f"expected no figure to be more than {exactly(fail_over, form='%')} worse, found {change.figure} of "
        f"{change.case} {shown(change.worse, fail_over, digits=0, form='%')} worse "
        f"({change.before:.2f}, now {change.now:.2f})"
        + ("; the figure is doubted, measure both again on a quiet machine" if change.noisy else "")
        for change in regressed(changes, fail_over)
    ]


def _publish(report: Report, file: Path, hardware: str | None) -> None:
    """Publishes what is right, no worse than before, and not doubted; else says why not."""
    if report.failures:
        report.said.append(f"not published: what failed stands below; {file} is as it was")
        return
    try:
        report.said.append(f"published: {file}, section '{publish(report.document, file, hardware)}'")
    except CtonnxError as error:
        report.failures.append(str(error))
