"""Row formats of `ctonnx predict`: a table for people, CSV and JSON lines for programs."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.images.formats import may_have_frames
from ctonnx.parity.rounding import shown
from ctonnx.prediction.results import Failure, Prediction, Record
from ctonnx.system.text import escape_control

__all__ = ["FORMATS", "SET_SEPARATOR", "Format", "Origin", "csv_line"]


_FRAME = len("#9999")  # the number of frames is only known after a file is read
_DECISION = ("decision", "   score")  # only if the model has an operating point
SET_SEPARATOR = "|"
"""Separator of several values in a field of CSV."""
_WIDTH = 120  # columns of a table's row, in which the classes of a set are named

Origin: TypeAlias = Callable[[], Mapping[str, Any]]
"""Returns the provenance of the rows; it reads the whole model file."""


class Format(NamedTuple):
    """Heading line, empty if the format has none, and a function for the row of a record with its heatmap's path."""

    head: str
    line: Callable[[Record, Path | None], str]


def _table(files: Sequence[str], spec: ModelSpec, top_k: int, origin: Origin) -> Format:
    widths = (len(escape_control(file)) + _FRAME * may_have_frames(file) for file in files)
    file_width = max(len("file"), *widths)
    decision = _DECISION if spec.operating_point else ()  # no empty columns
    class_width = max(len("class"), *(len(name) for name in spec.classes))

    def line(record: Record, picture: Path | None) -> str:
        if isinstance(record, Failure):
            values = f"error: {escape_control(record.error)}"
        else:
            values = "  ".join(f"{name:{class_width}}  {value:11.4f}" for name, value in record.top(top_k))
            if record.score is not None:
                values = f"{record.decision:{len(_DECISION[0])}}  {_score(record.score, spec, digits=6):>8}  {values}"
            values += _notes(record, spec, _WIDTH - file_width - 2 - len(values))
            if picture is not None:
                values += f"  heatmap: {escape_control(str(picture))}"
        return f"{escape_control(record.source):{file_width}}  {values}"

    columns = [*decision] + [f"{'class':{class_width}}  probability"] * top_k
    return Format(f"{'file':{file_width}}  " + "  ".join(columns), line)


def _notes(record: Prediction, spec: ModelSpec, room: int) -> str:
    """Returns the end of a row: why an image is referred, or its warning, and a set of several classes, once.

    The classes of a set are named if that fits into `room` columns, and counted otherwise; the other formats have the
    whole reason.
    """
    inside, point = record.prediction_set or (), spec.operating_point
    named, warning = escape_control(", ".join(inside)), escape_control(record.caution or "")
    if point is None or record.score is None or record.decision != "refer":
        caution = f"  caution: {warning}" if warning else ""
        sets = [f"  set: {named}", f"  set: {len(inside)} classes"] if len(inside) > 1 else [""]
        return next((text for of in sets if len(text := of + caution) <= room), sets[-1] + caution)
    reasons = [*([warning] if warning else []), *(["novelty"] if record.is_novel else [])]
    kinds = {name in point.positive for name in inside}
    if inside and kinds != {record.score >= point.threshold}:
        against = "set of both kinds" if len(kinds) > 1 else "set against the score"
        in_full = "; ".join([*reasons, f"{against} ({named})"])
        reasons = [in_full] if len(in_full) + len("  reason: ") <= room else [*reasons, f"{against} ({len(inside)})"]
    return f"  reason: {'; '.join(reasons) or escape_control(record.reason or '')}"


def _score(score: float, spec: ModelSpec, *, digits: int) -> str:
    """Returns a score with as many digits as it needs to be on its own side of the threshold."""
    point = spec.operating_point
    return shown(score, *(() if point is None else (point.threshold,)), digits=digits, form="f")


def _csv(files: Sequence[str], spec: ModelSpec, top_k: int, origin: Origin) -> Format:
    facts = origin()
    made_by = ["" if value is None else str(value) for value in facts.values()]

    def line(record: Record, picture: Path | None) -> str:
        if isinstance(record, Failure):
            return csv_line([record.source, *[""] * (2 * top_k + 9), record.error, "", *made_by])
        classes = [field for name, value in record.top(top_k) for field in (name, f"{value:.6f}")]
        suspicious = "" if record.suspicious is None else str(record.suspicious).lower()
        # All digits of float32, as scores near 1 and the threshold can be equal in six digits.
        score = "" if record.score is None else _score(record.score, spec, digits=9)
        novelty, percentile, is_novel = record.novelty, record.novelty_percentile, record.is_novel
        decided = [
            record.decision or "",
            record.reason or "",
            "" if novelty is None else f"{novelty:.9g}",
            "" if percentile is None else f"{percentile:.2f}",
            "" if is_novel is None else str(is_novel).lower(),
            SET_SEPARATOR.join(record.prediction_set or ()),
        ]
        drawn = "" if picture is None else str(picture)
        return csv_line(
            [record.source, *classes, suspicious, score, *decided, record.caution or "", "", drawn, *made_by]
        )

    ranks = [""] if top_k == 1 else [f"_{rank}" for rank in range(1, top_k + 1)]
    classes = (f"{name}{rank}" for rank in ranks for name in ("label", "probability"))
    columns = [
        *("file", *classes, "suspicious", "score", "decision", "reason"),
        *("novelty", "novelty_percentile", "unlike_training", "set"),
        *("caution", "error", "heatmap", *facts),
    ]
    return Format(csv_line(columns), line)


def _jsonl(files: Sequence[str], spec: ModelSpec, top_k: int, origin: Origin) -> Format:
    facts = origin()

    def line(record: Record, picture: Path | None) -> str:
        top = {} if isinstance(record, Failure) else dict(record.top(top_k))
        drawn = None if picture is None else str(picture)
        return json.dumps({**record.as_dict(), "probabilities": top, "heatmap": drawn, **facts}, ensure_ascii=False)

    return Format("", line)


FORMATS: dict[str, Callable[[Sequence[str], ModelSpec, int, Origin], Format]] = {
    "table": _table,
    "jsonl": _jsonl,
    "csv": _csv,
}
"""Functions by name that return a row format for files, the model's spec, the number of classes per row, and the origin
of the rows, which only CSV and JSON lines include."""


def csv_line(fields: Sequence[str]) -> str:
    """Returns a line of CSV, without its end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(fields)  # its characters are quoted in fields
    return line.getvalue().removesuffix("\r\n")
