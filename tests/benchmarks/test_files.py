"""Where the reports lie."""

import json
from pathlib import Path
from typing import Any

from ctonnx_bench.files import output_folder, write_reports


def test_reports_lie_in_the_models_run_or_in_the_working_folder(workspace: Path, document: dict[str, Any]) -> None:
    assert output_folder(document) == Path("bench")
    document["models"][0]["file"] = "runs/tiny/export/model.fp32.onnx"
    assert output_folder(document) == workspace.resolve() / "runs/tiny/bench"


def test_three_reports_are_written_and_nothing_else(tmp_path: Path, document: dict[str, Any]) -> None:
    files = write_reports(document, tmp_path / "new" / "bench")
    assert [file.name for file in files] == ["bench.json", "bench.md", "bench.html"]
    assert sorted(file.name for file in (tmp_path / "new/bench").iterdir()) == ["bench.html", "bench.json", "bench.md"]
    assert json.loads(files[0].read_text(encoding="utf-8"))["cases"][0]["rounds"][0]["samples_s"]
    assert files[1].read_text(encoding="utf-8").startswith("# Benchmark of lungs")
