"""From settings to reports: measurements are saved even if they cannot be compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctonnx.errors import CtonnxError
from ctonnx.system.files import json_text
from ctonnx_bench.benchmark import workflow
from ctonnx_bench.benchmark.workflow import measure_and_report
from ctonnx_bench.cases.settings import ReportOptions, Settings


@pytest.fixture
def measured(
    monkeypatch: pytest.MonkeyPatch, document: dict[str, Any], no_plots: None, tmp_path: Path
) -> Callable[[ReportOptions], Any]:
    """Measures nothing, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workflow, "run_benchmark", lambda settings, *, command, log: document)
    return lambda options: measure_and_report(Settings(), options, command="ctonnx bench", log=print)


def test_reports_are_written_and_named(measured: Callable[[ReportOptions], Any]) -> None:
    report = measured(ReportOptions(output=Path("out")))
    assert (report.failures, report.changes) == ([], None)
    assert report.messages == [f"written: out/bench.{kind}" for kind in ("json", "md", "html")]


def test_temporary_files_of_a_killed_benchmark_are_removed(
    measured: Callable[[ReportOptions], Any], leave_behind: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out").mkdir()
    left = leave_behind(Path("out/bench.json"))
    measured(ReportOptions(output=Path("out")))
    assert capsys.readouterr().out == (
        f"removed 1 temporary file or folder of a killed process from 'out': '{left.name}'\n"
    )
    assert sorted(file.name for file in Path("out").iterdir()) == ["bench.html", "bench.json", "bench.md"]


def test_reports_without_a_common_case_are_an_error_after_saving(
    measured: Callable[[ReportOptions], Any], make_document: Any
) -> None:
    old = make_document()
    for case in old["cases"]:
        case["name"] += ", elsewhere"
    Path("old.json").write_text(json_text(old), encoding="utf-8")
    with pytest.raises(CtonnxError, match="expected cases that are in the earlier report too, found none"):
        measured(ReportOptions(baseline=Path("old.json")))
    assert Path("bench/bench.json").is_file()


def test_report_that_would_be_replaced_is_not_a_baseline(
    measured: Callable[[ReportOptions], Any], make_document: Any
) -> None:
    Path("bench").mkdir()
    old = json_text(make_document())
    Path("bench/bench.json").write_text(old, encoding="utf-8")
    with pytest.raises(CtonnxError, match="expected an earlier report outside 'bench', where the reports are replaced"):
        measured(ReportOptions(baseline=Path("bench/bench.json")))
    assert Path("bench/bench.json").read_text(encoding="utf-8") == old


def test_case_that_was_wrong_before_cannot_be_compared(
    measured: Callable[[ReportOptions], Any], make_document: Any
) -> None:
    old = make_document()
    old["cases"][1] |= {"failures": ["max |dp| is 1"]}
    Path("old.json").write_text(json_text(old), encoding="utf-8")
    (failure,) = measured(ReportOptions(baseline=Path("old.json"))).failures
    assert failure.startswith(f"expected {old['cases'][1]['name']} to be right in the earlier report")


def test_comparison_is_in_the_written_document(measured: Callable[[ReportOptions], Any], make_document: Any) -> None:
    Path("old.json").write_text(json_text(make_document(slower=2.0)), encoding="utf-8")
    report = measured(ReportOptions(baseline=Path("old.json")))
    assert report.failures == []
    assert report.document["compared_with"]["fail_over"] == 0.1
    assert "compared_with" in Path("bench/bench.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("slower", "allowed", "shares"),
    [(1.1004, 0.10, ("10%", "10.04%")), (1.03, 0.025, ("2.5%", "3%")), (1.024, 0.02, ("2%", "2.4%"))],
)
def test_regression_is_reported_with_digits_beyond_its_bound(
    slower: float, allowed: float, shares: tuple[str, str], measured: Callable[[ReportOptions], Any], make_document: Any
) -> None:
    Path("old.json").write_text(json_text(make_document(slower=1 / slower)), encoding="utf-8")
    failures = measured(ReportOptions(baseline=Path("old.json"), fail_over=allowed)).failures
    start = f"expected every measurement to be at most {shares[0]} worse, found p50 ms of ctonnx FP32"
    assert failures[0].startswith(start)
    assert f" {shares[1]} worse (" in failures[0]
