"""A benchmark from its settings to its reports: checks, measurement, comparison, reports and publishing."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ctonnx.errors import CtonnxError
from ctonnx.parity.rounding import exactly, shown
from ctonnx.system.temporary_files import remove_leftovers
from ctonnx.system.text import Log
from ctonnx_bench.analysis import regression
from ctonnx_bench.analysis.best_settings import save_best
from ctonnx_bench.analysis.earlier import read_report
from ctonnx_bench.benchmark.document import run_benchmark
from ctonnx_bench.cases.settings import ReportOptions, Settings
from ctonnx_bench.report.files import output_folder, try_folder, write_reports
from ctonnx_bench.report.publishing import check_published_file, publish

__all__ = ["Report", "measure_and_report", "wrong_outputs"]


@dataclass(frozen=True)
class Report:
    """Finished benchmark: the content of bench.json, changes from the earlier report if there is one, and messages."""

    document: dict[str, Any]
    changes: list[regression.Change] | None
    messages: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def measure_and_report(settings: Settings, options: ReportOptions, *, command: str, log: Log) -> Report:
    """Measures, compares with an earlier report, writes the reports with the command line, and publishes the results.

    Raises:
        CtonnxError: If ctonnx cannot run with these settings, or the earlier report is not comparable.
        OSError: If a report cannot be written; this is checked before the measurement.
    """
    folder = options.output or output_folder(settings.models)
    try_folder(folder)
    places = [folder, *(model if model.is_dir() else model.parent for model in settings.models)]
    remove_leftovers(places if options.published is None else [*places, options.published.parent], log)
    if options.published is not None:
        check_published_file(options.published)
        try_folder(options.published.parent)
    earlier = None if options.baseline is None else _read_baseline(options.baseline, folder, settings)
    document = run_benchmark(settings, command=command, log=log)
    report = Report(document, None)
    try:
        report = Report(document, None if earlier is None else _compare(earlier, document, options.fail_over))
    finally:  # the measurement took long: it is saved even if it cannot be compared
        report.messages.extend(write_reports(document, folder))
    report.failures.extend(wrong_outputs(document))
    if earlier is not None:
        report.failures.extend(_worse(report.changes or [], options.fail_over))
        report.failures.extend(
            f"expected {name} to be right in the earlier report, found that it had failed: its speed cannot be compared"
            for name in regression.wrong_before(earlier, document)
        )
        report.failures.extend(
            f"expected {name}, which is in the earlier report, found that it was not measured now"
            for name in regression.missing(earlier, document)
        )
    if settings.sweep:
        report.messages.extend(save_best(document))
    if options.published is not None:
        _publish(report, options.published, options.hardware)
    return report


def _read_baseline(baseline: Path, folder: Path, settings: Settings) -> Mapping[str, Any]:
    if Path(os.path.realpath(baseline)).parent == Path(os.path.realpath(folder)):
        raise CtonnxError(
            f"expected an earlier report outside '{folder}', where the reports are replaced and the next comparison "
            f"would be with this one, found '{baseline}'; keep it elsewhere, or name another --output"
        )
    earlier = read_report(baseline)
    regression.check_same_measurement(earlier, settings)
    return earlier


def _compare(earlier: Mapping[str, Any], document: dict[str, Any], fail_over: float) -> list[regression.Change]:
    """Returns the changes, and adds them to the document."""
    changes = regression.compare_reports(earlier, document)
    document["compared_with"] = {
        "created": earlier["created"],
        "fail_over": fail_over,
        "changes": [{**asdict(change), "worse": change.worse} for change in changes],
        "cautions": regression.find_caveats(earlier, document),
    }
    return changes


def wrong_outputs(document: Mapping[str, Any]) -> list[str]:
    """Returns a failure for each case of ctonnx with wrong outputs, or that failed in a round."""
    found = [
        f"expected right outputs, found wrong ones of {case['name']}"
        for case in document["cases"]
        if case["own"] and case["failures"] and case["name"] not in document["broken"]
    ]
    return found + [
        f"expected {name} to be measured in every round, found that it failed: {reason}"
        for name, reason in document["broken"].items()
    ]


def _worse(changes: list[regression.Change], fail_over: float) -> list[str]:
    return [
        f"expected every measurement to be at most {exactly(fail_over, form='%')} worse, found {change.figure} of "
        f"{change.case} {shown(change.worse, fail_over, digits=0, form='%')} worse "
        f"({change.before:.2f}, now {change.now:.2f})"
        + ("; the measurement is unreliable, measure both again on a quiet machine" if change.noisy else "")
        for change in regression.regressed(changes, fail_over)
    ]


def _publish(report: Report, file: Path, hardware: str | None) -> None:
    """Publishes the results if the benchmark did not fail, and its measurements are reliable."""
    if report.failures:
        report.messages.append(f"not published because of the failures below; {file} is unchanged")
        return
    try:
        report.messages.append(f"published: {file}, section '{publish(report.document, file, hardware)}'")
    except CtonnxError as error:
        report.failures.append(str(error))
