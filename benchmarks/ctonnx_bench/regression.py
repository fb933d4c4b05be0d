"""`--compare`: the figures of a benchmark against those of an earlier one, as a gate."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctonnx.errors import CtonnxError
from ctonnx_bench.environment import differences
from ctonnx_bench.summary import NOISY

__all__ = ["Change", "cautions", "compare_reports", "read_report", "regressed", "table"]

_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Change:
    """One figure of one case, before and now.

    Attributes:
        case: its name.
        figure: which one, with its unit.
        before: in the earlier report.
        now: in this one.
        noisy: whether either was measured on a noisy machine.
    """

    case: str
    figure: str
    before: float
    now: float
    noisy: bool = False

    @property
    def worse(self) -> float:
        """By which share it is worse: 0.1 is 10 % slower or larger; negative is better."""
        return self.now / self.before - 1


def read_report(file: Path) -> dict[str, Any]:
    """Reads a bench.json.

    Raises:
        CtonnxError: it is missing, damaged, something else, or of a newer ctonnx.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        version = document["schema_version"]
        if document["tool"] != "ctonnx bench" or not isinstance(version, int):
            raise ValueError(f"the tool {document['tool']!r}")
        if version <= _SCHEMA_VERSION:
            for case in document["cases"]:
                _figures(case)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CtonnxError(
            f"expected the bench.json of an earlier ctonnx bench at '{file}', found {_reason(error)}; "
            "make one with: ctonnx bench --output DIR"
        ) from error
    if version > _SCHEMA_VERSION:
        raise CtonnxError(
            f"expected a report of schema {_SCHEMA_VERSION} or older, found schema {version} in '{file}': it was made "
            "by a newer ctonnx; upgrade this one"
        )
    found: dict[str, Any] = document
    return found


def compare_reports(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Returns the median latency and the peak memory of each case that both reports have.

    Raises:
        CtonnxError: they have none in common.
    """
    earlier = {case["name"]: case for case in old["cases"]}
    found = []
    for case in new["cases"]:
        if (before := earlier.get(case["name"])) is None:
            continue
        noisy = any(_is_noisy(item) for item in (before, case))
        for name, value in _figures(case).items():
            if (was := _figures(before).get(name)) and value is not None:
                found.append(Change(case["name"], name, was, value, noisy))
    if not found:
        raise CtonnxError(
            f"expected cases that the earlier report has too, found none: it has {', '.join(earlier) or 'no case'}; "
            "measure with the same models, batch sizes, threads and provider"
        )
    return found


def regressed(changes: Sequence[Change], fail_over: float) -> list[Change]:
    """Returns the figures that are worse by more than the share that is allowed."""
    return [change for change in changes if change.worse > fail_over]


def cautions(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns what makes the two reports hard to compare: another machine, other libraries, cases that one lacks."""
    found = [f"measured with different {said}" for said in differences(old["environment"], new["environment"])]
    names = [{case["name"] for case in document["cases"]} for document in (old, new)]
    return found + [f"not measured now: {name}" for name in sorted(names[0] - names[1])]


def table(changes: Sequence[Change], fail_over: float) -> str:
    """Returns the comparison for a terminal."""
    rows = [["case", "figure", "before", "now", "change", ""]]
    for change in changes:
        verdict = "REGRESSION" if change.worse > fail_over else ""
        shown = [f"{value:.2f}" for value in (change.before, change.now)]
        note = " ".join(filter(None, [verdict, "(noisy)" if change.noisy else ""]))
        rows.append([change.case, change.figure, *shown, f"{change.worse:+.1%}", note])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place in (0, 1, 5) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _figures(case: Mapping[str, Any]) -> dict[str, float | None]:
    figures = case["figures"]
    peak = figures["peak_bytes"]
    return {"p50 ms": figures["latency_ms"]["p50"], "peak MB": None if peak is None else peak / 1e6}


def _is_noisy(case: Mapping[str, Any]) -> bool:
    latency = case["figures"]["latency_ms"]
    return bool(latency["iqr"] > NOISY * latency["p50"] or case["doubts"])


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no file"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "a file that is no JSON"
    if isinstance(error, KeyError):
        return f"a document without {error}"
    return f"another document ({error})"
