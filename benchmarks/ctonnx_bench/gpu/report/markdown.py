"""The kit's report as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from ctonnx.system.text import table

__all__ = ["markdown", "shown_value"]

_UNITS = {"_s": " s", "_ms": " ms", "_mb": " MB", "_bytes": " bytes"}
"""Endings of names, with the units for headings."""
_SHARES = ("share", "agreement")
_SMALL = 1e-3


def markdown(document: Mapping[str, Any], plots: Sequence[str]) -> str:
    """Returns the report; `plots` are the names of files next to it."""
    settings = document["settings"]
    where = "a GPU" if settings["provider"] == "cuda" else "a CPU: a rehearsal, whose values measure nothing"
    state = "passed" if document["passed"] else "not passed" if document["complete"] else "not complete"
    lines = [
        "# GPU report",
        "",
        f"On {where}. {state.capitalize()}, {document['seconds']:.0f} s of {settings['budget_s']:.0f} s, "
        f"{document['created'][:10]}, by:",
        "",
        "```console",
        f"$ {document['command']}",
        "```",
        "",
        *table(["step", "state", "seconds", "reason"], [_step_cells(step) for step in document["steps"]]),
        "",
        *(line for name in plots for line in (f"![{name.removesuffix('.png').replace('-', ' ')}]({name})", "")),
    ]
    for step in document["steps"]:
        lines += _section(step)
    return "\n".join(lines)


def shown_value(name: str, value: Any) -> str:
    """Returns a value for a reader, by the ending of its name.

    >>> [shown_value("data_share", 0.0512), shown_value("duration_s", 2.345678), shown_value("max_dp", 3.21e-06)]
    ['5.1%', '2.35', '3.2e-06']
    >>> [shown_value("reason", None), shown_value("passed", True), shown_value("rate", 12345.678)]
    ['-', 'yes', '12346']
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if name.endswith(_SHARES):
            return f"{value:.1%}"
        if value and abs(value) < _SMALL:
            return f"{value:.1e}"
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {shown_value(key, item)}" for key, item in value.items()) or "-"
    return str(value)


def _step_cells(step: Mapping[str, Any]) -> list[str]:
    return [_cell(step["title"]), step["state"], f"{step['seconds']:.1f}", _cell(step["reason"]) or "-"]


def _section(step: Mapping[str, Any]) -> list[str]:
    lines = [f"## {step['title']}", "", f"{step['state'].capitalize()} in {step['seconds']:.1f} s.", ""]
    lines += [f"- {_heading(name)}: {_cell(shown_value(name, value))}" for name, value in step["facts"].items()]
    lines += [""] if step["facts"] else []
    for name, rows in step["tables"].items():
        columns = list(rows[0])
        cells = [[_cell(shown_value(column, row.get(column))) for column in columns] for row in rows]
        lines += [f"### {name}", "", *table([_heading(column) for column in columns], cells, numbers=True), ""]
    remarks = [f"- FAILED: {_cell(failure)}" for failure in step["failures"]]
    remarks += [f"- LEFT OUT: {_cell(part)}" for part in step["left_out"]]
    remarks += [f"- {_cell(note)}" for note in step["notes"]]
    lines += [*remarks, ""] if remarks else []
    if step["output"]:
        lines += ["The last lines of its output:", "", "```text", *step["output"], "```", ""]
    return lines


def _heading(name: str) -> str:
    """Returns a column's name with its unit.

    >>> _heading("p50_ms")
    'p50 ms'
    """
    ending = next((ending for ending in _UNITS if name.endswith(ending)), "")
    return name.removesuffix(ending).replace("_", " ") + _UNITS.get(ending, "")


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
