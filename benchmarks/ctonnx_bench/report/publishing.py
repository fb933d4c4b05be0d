"""Writes results on named hardware into a Markdown document, a section for each benchmark (`--publish`)."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctonnx.errors import CtonnxError
from ctonnx.inference.providers import ON_CPU
from ctonnx.system.file_reading import read_text
from ctonnx.system.files import write_text
from ctonnx_bench.report.tables import markdown, subtitle

__all__ = ["check_published_file", "hardware_name", "publish"]

_HEAD = """\
# Results

Written by `ctonnx bench --publish FILE`, with a section for each machine, model and settings, and the command that
wrote it; nothing was typed by hand. The columns are explained in ctonnx's docs/guide/benchmarks.md. Times on different
machines, or of different versions, are not comparable with each other; the rows of a table were measured in turn.
"""
_ANY_HEAD = re.compile(r"# Results\n\nWritten by `ctonnx bench --publish FILE`,(.+\n)*.* (was|were) measured in turn\.")
"""The head of this version, or of an earlier one."""
_SECTION = re.compile(r"<!-- ctonnx bench: (?P<name>[^\n]*) -->\n.*?<!-- end -->\n", re.DOTALL)


def hardware_name(document: Mapping[str, Any]) -> str:
    """Returns the default name of the machine: its GPU, or its processor with the number of cores."""
    about = document["environment"]
    if document["settings"]["provider"] not in ON_CPU and about["gpu"]:
        return str(about["gpu"])
    features = f" with {', '.join(about['features'])}" if about["features"] else ""
    return f"{about['cpu']}, {about['cores_allowed']} cores{features}"


def publish(document: Mapping[str, Any], file: Path, hardware: str | None) -> str:
    """Writes a benchmark's section into a document, and returns its name; other sections stay unchanged.

    It replaces the section for the same machine (default: `hardware_name`), model and settings.

    Raises:
        CtonnxError: If the file was not written by this function, or measurements of ctonnx are unreliable.
    """
    check_published_file(file)
    warnings = [f"{case['name']}: {text}" for case in document["cases"] for text in case["doubts"] if case["own"]]
    if warnings:
        raise CtonnxError(
            f"expected reliable measurements of ctonnx for --publish, found unreliable ones, such as {warnings[0]}; "
            "measure again on a quiet machine"
        )
    title = f"{hardware or hardware_name(document)}: {subtitle(document)}"
    name = " ".join(title.replace("--", "-").split())
    section = f"<!-- ctonnx bench: {name} -->\n{markdown(document, title=name, level=2)}<!-- end -->\n"
    before = read_text(file) if file.is_file() else _HEAD
    sections = {_current(found["name"]): found.group() for found in _SECTION.finditer(before)}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, "\n".join([_HEAD, *({**sections, name: section}.values())]))
    return name


def check_published_file(file: Path) -> None:
    """Checks that publishing would not replace text of the user.

    Raises:
        CtonnxError: If the file contains anything except published sections.
    """
    if not file.exists():
        return
    try:
        left = _SECTION.sub("", read_text(file))
    except UnicodeDecodeError:
        left = "other bytes"
    if not _ANY_HEAD.fullmatch(left.strip()):
        raise CtonnxError(
            f"expected a file for --publish that ctonnx bench wrote, or none, found another text in '{file}'; name "
            "another file"
        )


def _current(name: str) -> str:
    """Returns a section's name as this version writes it; earlier ones wrote "to the answer"."""
    return name.replace(" to the answer", " to the prediction")
