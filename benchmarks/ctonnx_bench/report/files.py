"""Where a benchmark's reports lie, each written whole or not at all."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ctonnx.artifacts.run import Run
from ctonnx.errors import ModelError
from ctonnx.prediction.model_selection import find_models
from ctonnx.system.files import atomic_file, json_text
from ctonnx_bench.report.html import html_page
from ctonnx_bench.report.tables import markdown

__all__ = ["output_folder", "try_folder", "write_reports"]


def output_folder(models: Sequence[Path]) -> Path:
    """Returns `bench/` in the run that the first model lies in, or in the working folder where it lies in none.

    Args:
        models: as they were named; none means those of the newest run with an export.
    """
    try:
        first = find_models(models[0] if models else None)[0]
    except ModelError:  # which `read_models` tells
        return Path("bench")
    run = Run(first.resolve().parent.parent)
    return (run.folder if run.has_checkpoint else Path()) / "bench"


def try_folder(folder: Path) -> None:
    """Ends with an error where a folder cannot be written to, or made; leaves nothing.

    Raises:
        OSError: it cannot.
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:  # whose file name nobody knows
        raise OSError(error.errno, error.strerror, str(folder)) from error


def write_reports(document: Mapping[str, Any], folder: Path) -> list[str]:
    """Writes bench.json, bench.md and bench.html, or a sweep's sweep.json and so on; returns a line for each.

    All are written before any takes its place, so that a full disk leaves the earlier ones. The JSON document, of which
    the others are made, is replaced while these are gone: none is ever beside another benchmark's.

    Raises:
        OSError: The folder cannot be made or written to.
    """
    texts = {"json": json_text(document), "md": markdown(document), "html": html_page(document)}
    folder.mkdir(parents=True, exist_ok=True)
    name = "sweep" if document["settings"]["sweep"] else "bench"
    files = {kind: folder / f"{name}.{kind}" for kind in texts}
    said = [
        f"written: {file}" + (", in the place of an earlier one" if file.exists() else "") for file in files.values()
    ]
    with ExitStack() as places:
        for kind in reversed(texts):  # a stack ends with what it began with: the JSON document goes first
            with places.enter_context(atomic_file(files[kind])).open("w", encoding="utf-8") as file:
                file.write(texts[kind])
                file.flush()
                os.fsync(file.fileno())  # some disks say only here that they are full
        for kind in ("md", "html"):
            files[kind].resolve().unlink(missing_ok=True)
    return said
