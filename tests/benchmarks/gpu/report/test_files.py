"""All files are written, plots of an earlier run are removed, and a missing matplotlib only costs the plots."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ctonnx_bench.gpu.report.files import write_reports
from ctonnx_bench.gpu.report.plots import PLOTS


def test_json_markdown_and_plots_are_written(document: dict[str, Any], tmp_path: Path) -> None:
    write_reports(document, tmp_path)
    names = {"gpu-report.json", "gpu-report.md", *(f"{name}.png" for name in PLOTS)}
    assert {file.name for file in tmp_path.iterdir()} == names
    assert json.loads((tmp_path / "gpu-report.json").read_text(encoding="utf-8")) == document
    text = (tmp_path / "gpu-report.md").read_text(encoding="utf-8")
    assert all(f"({name}.png)" in text for name in PLOTS)


def test_plots_of_an_earlier_run_are_removed(document: dict[str, Any], tmp_path: Path) -> None:
    write_reports(document, tmp_path)
    write_reports({**document, "steps": document["steps"][:1]}, tmp_path)
    assert {file.name for file in tmp_path.glob("*.png")} == {"gpu-steps.png"}


def test_without_matplotlib_the_report_has_no_plots_and_the_reason(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ctonnx_bench.gpu.report.plots", None)
    write_reports(document, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"gpu-report.json", "gpu-report.md"}
    assert "Plots are missing: ModuleNotFoundError" in (tmp_path / "gpu-report.md").read_text(encoding="utf-8")
