"""Runs the tests marked `gpu` on the device."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree  # pytest's own report

from ctonnx_bench.gpu.step import Context

__all__ = ["DEVICE_VARIABLE", "ROOT", "TestResult", "marked_files", "run"]

ROOT = Path(__file__).parents[4]
"""Folder of the checkout, which has the tests."""

DEVICE_VARIABLE = "CTONNX_TEST_DEVICE"
"""Environment variable with the device of the tests marked `gpu`; they are skipped without it."""

_MARK = "pytest.mark." + "gpu"


@dataclass(frozen=True)
class TestResult:
    """A test with its state and seconds."""

    __test__ = False

    test: str
    state: str
    duration_s: float


def marked_files(tests: Path) -> list[Path]:
    """Returns the test files with a test marked `gpu`: collecting all files would import every library."""
    return [file for file in sorted(tests.rglob("test_*.py")) if _MARK in file.read_text(encoding="utf-8")]


def run(context: Context) -> None:
    """Runs the tests of the checkout, and records each."""
    if not (files := marked_files(ROOT / "tests")):
        context.fail(f"expected tests marked gpu in '{ROOT / 'tests'}', found none; run the kit from a checkout")
        return
    report = context.work / "device_tests" / "junit.xml"
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = subprocess.run(
        [*command, *map(str, files)],
        cwd=ROOT,
        check=False,
        env={**os.environ, DEVICE_VARIABLE: context.settings.provider},
    )
    results = _results(report)
    for result in results:
        context.row("Tests", result)
    failed = [result.test for result in results if result.state == "failed"]
    if failed:
        context.fail(f"expected all {len(results)} tests to pass, found that {len(failed)} failed: {', '.join(failed)}")
    elif done.returncode or not results:
        context.fail(f"expected pytest to run the tests, found that it ended with {done.returncode}")
    elif all(result.state == "skipped" for result in results):
        context.fail("expected tests that run, found that all were skipped")


def _results(report: Path) -> list[TestResult]:
    if not report.exists():
        return []
    cases = ElementTree.parse(report).getroot().iter("testcase")  # noqa: S314  # pytest's own report
    return [TestResult(case.get("name", ""), _state(case), float(case.get("time", 0))) for case in cases]


def _state(case: "ElementTree.Element") -> str:
    kinds = {child.tag for child in case}
    return "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
