"""`--publish`: a document of results on named hardware, in which each section was written by the tool."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctonnx.errors import CtonnxError
from ctonnx.inference.providers import ON_CPU
from ctonnx.system.file_reading import read_text
from ctonnx.system.files import write_text
from ctonnx_bench.report.tables import markdown, way_of

__all__ = ["hardware_name", "publish", "refuse_other_file"]

_HEAD = """\
# Results

Written by `ctonnx bench --publish FILE`, a section for each machine, model and way of running, with the command that
made it; nothing here was typed. The columns are explained in ctonnx's docs/guide/benchmarks.md. Times on different
machines, or of different versions, are not comparable with each other; what stands in one table was measured in turn.
"""
_SECTION = re.compile(r"<!-- ctonnx bench: (?P<name>[^\n]*) -->\n.*?<!-- end -->\n", re.DOTALL)


def hardware_name(document: Mapping[str, Any]) -> str:
    """Returns the machine's name, where it was given none: its GPU, or its processor with the cores that were used."""
    about = document["environment"]
    if document["settings"]["provider"] not in ON_CPU and about["gpu"]:
        return str(about["gpu"])
    features = f" with {', '.join(about['features'])}" if about["features"] else ""
    return f"{about['cpu']}, {about['cores_allowed']} cores{features}"


def publish(document: Mapping[str, Any], file: Path, hardware: str | None) -> str:
    """Writes a benchmark's section into a document, in the place of the one for the same machine, model and way.

    Args:
        document: The benchmark's.
        file: to write; others' sections in it stay as they are.
        hardware: what the machine is called; None takes `hardware_name`.

    Returns:
        The section's name.

    Raises:
        CtonnxError: The file is there and was not written by this, or figures of ctonnx are doubted.
    """
    refuse_other_file(file)
    doubted = [f"{case['name']}: {doubt}" for case in document["cases"] for doubt in case["doubts"] if case["own"]]
    if doubted:
        raise CtonnxError(
            f"expected figures of ctonnx's that stand for --publish, found them doubted, such as {doubted[0]}; measure "
            "again without it"
        )
    title = f"{hardware or hardware_name(document)}: {way_of(document)}"
    name = " ".join(title.replace("--", "-").split())
    section = f"<!-- ctonnx bench: {name} -->\n{markdown(document, title=name, level=2)}<!-- end -->\n"
    there = read_text(file) if file.is_file() else _HEAD
    sections = {found["name"]: found.group() for found in _SECTION.finditer(there)}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, "\n".join([_HEAD, *({**sections, name: section}.values())]))
    return name


def refuse_other_file(file: Path) -> None:
    """Ends with an error where publishing would replace a text that somebody wrote.

    Raises:
        CtonnxError: The file is there, and holds more than such sections.
    """
    if not file.exists():
        return
    try:
        left = _SECTION.sub("", read_text(file))
    except UnicodeDecodeError:
        left = "other bytes"
    if left.strip() != _HEAD.strip():
        raise CtonnxError(
            f"expected a file for --publish that ctonnx bench wrote, or none, found another text in '{file}'; name "
            "another file"
        )
