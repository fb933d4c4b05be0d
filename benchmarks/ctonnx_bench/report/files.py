"""Writes the reports of a benchmark, each completely or not at all."""

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

__all__ = ["output_folder", "try_folder", "write_reports", "write_together"]


def output_folder(models: Sequence[Path]) -> Path:
    """Returns `bench/` in the run that contains the first model, or in the working folder if no run does.

    Without models, it is that of the newest run with an export.
    """
    try:
        first = find_models(models[0] if models else None)[0]
    except ModelError:  # `read_models` reports it
        return Path("bench")
    run = Run(first.resolve().parent.parent)
    return (run.folder if run.has_checkpoint else Path()) / "bench"


def try_folder(folder: Path) -> None:
    """Checks that a folder can be created and written to, without leaving anything.

    Raises:
        OSError: If it cannot.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:  # names a temporary file
        raise OSError(error.errno, error.strerror, str(folder)) from error


def write_reports(document: Mapping[str, Any], folder: Path) -> list[str]:
    """Writes bench.json, bench.md and bench.html, or a sweep's sweep.json and so on; returns a message for each.

    Raises:
        OSError: The folder cannot be made or written to.
    """
    name = "sweep" if document["settings"]["sweep"] else "bench"
    texts = {"json": json_text(document), "md": markdown(document), "html": html_page(document)}
    return write_together(folder, {f"{name}.{kind}": text.encode() for kind, text in texts.items()})


def write_together(folder: Path, contents: Mapping[str, bytes]) -> list[str]:
    """Writes the files of one report, by name, the JSON document first; returns a message for each.

    All files are written before any earlier one is replaced, so that a full disk leaves the earlier ones. The JSON
    document is replaced while the others are missing: files of different benchmarks are never next to each other.

    Raises:
        OSError: The folder cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / name for name in contents}
    messages = [f"written: {file}" + (", replacing an earlier one" if file.exists() else "") for file in files.values()]
    with ExitStack() as places:
        for name in reversed(list(contents)):  # the stack unwinds in reverse: the JSON document is replaced first
            with places.enter_context(atomic_file(files[name])).open("wb") as file:
                file.write(contents[name])
                file.flush()
                os.fsync(file.fileno())  # some file systems report a full disk only here
        for name in list(contents)[1:]:
            files[name].resolve().unlink(missing_ok=True)
    return messages
