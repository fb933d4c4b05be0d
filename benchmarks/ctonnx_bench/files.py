"""Where a benchmark's reports lie, each written whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctonnx.runs import Run
from ctonnx.writing import json_text, write_text
from ctonnx_bench.page import html_page
from ctonnx_bench.report import markdown

__all__ = ["output_folder", "write_reports"]


def output_folder(document: Mapping[str, Any]) -> Path:
    """Returns `bench/` in the run that the first model lies in, or in the working folder where it lies in none."""
    run = Run(Path(document["models"][0]["file"]).resolve().parent.parent)
    return (run.folder if run.has_checkpoint else Path()) / "bench"


def write_reports(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Writes bench.json, bench.md and bench.html, and returns them.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    texts = {"bench.json": json_text(document), "bench.md": markdown(document), "bench.html": html_page(document)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]
