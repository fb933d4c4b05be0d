"""How `ctonnx predict` writes its records: a table for people, CSV and JSON lines for programs."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.images.formats import may_have_frames
from ctonnx.parity.rounding import shown
from ctonnx.prediction.output.provenance import Provenance
from ctonnx.prediction.results import Failure, Record
from ctonnx.system.text import escape_control

__all__ = ["FORMATS", "Format", "Origin"]


_FRAME = len("#9999")  # how many frames a file has is not known before it is read
_SUSPICION = ("suspicious", "   score")  # where the model has an operating point

Origin: TypeAlias = Callable[[], Provenance]
"""Tells where rows come from; it takes a moment, as the model's file is read."""


class Format(NamedTuple):
    """A heading line, empty where the format has none, and what turns a record and its picture's path into its line."""

    head: str
    line: Callable[[Record, Path | None], str]


def _table(files: Sequence[str], spec: ModelSpec, top_k: int, origin: Origin) -> Format:
    widths = (len(escape_control(file)) + _FRAME * may_have_frames(file) for file in files)
    file_width = max(len("file"), *widths)
    suspicion = _SUSPICION if spec.operating_point else ()  # no columns where the model cannot fill them
    class_width = max(len("class"), *(len(name) for name in spec.classes))

    def line(record: Record, picture: Path | None) -> str:
        if isinstance(record, Failure):
            answers = f"error: {escape_control(record.error)}"
        else:
            answers = "  ".join(f"{name:{class_width}}  {value:11.4f}" for name, value in record.top(top_k))
            if record.score is not None:
                suspicious = "yes" if record.suspicious else "no"
                answers = f"{suspicious:{len(_SUSPICION[0])}}  {_score(record.score, spec, digits=6):>8}  {answers}"
            if record.caution:
                answers += f"  caution: {escape_control(record.caution)}"
            if picture is not None:
                answers += f"  heatmap: {escape_control(str(picture))}"
        return f"{escape_control(record.source):{file_width}}  {answers}"

    columns = [*suspicion] + [f"{'class':{class_width}}  probability"] * top_k
    return Format(f"{'file':{file_width}}  " + "  ".join(columns), line)


def _score(score: float, spec: ModelSpec, *, digits: int) -> str:
    """Returns a score on its own side of the threshold, near which there is much between two numbers of few digits."""
    point = spec.operating_point
    return shown(score, *(() if point is None else (point.threshold,)), digits=digits, form="f")


def _csv(files: Sequence[str], spec: ModelSpec, top_k: int, origin: Origin) -> Format:
    facts = origin().as_dict()
    made_by = ["" if value is None else str(value) for value in facts.values()]

    def line(record: Record, picture: Path | None) -> str:
        if isinstance(record, Failure):
            return _csv_line([record.source, *[""] * (2 * top_k + 3), record.error, "", *made_by])
        answers = [field for name, value in record.top(top_k) for field in (name, f"{value:.6f}")]
        suspicious = "" if record.suspicious is None else str(record.suspicious).lower()
        # All digits: what is suspicious is what reaches the threshold, and near 1 there is much between six of them.
        score = "" if record.score is None else _score(record.score, spec, digits=9)
        drawn = "" if picture is None else str(picture)
        return _csv_line([record.source, *answers, suspicious, score, record.caution or "", "", drawn, *made_by])

    ranks = [""] if top_k == 1 else [f"_{rank}" for rank in range(1, top_k + 1)]
    answered = (f"{name}{rank}" for rank in ranks for name in ("label", "probability"))
    columns = ["file", *answered, "suspicious", "score", "caution", "error", "heatmap", *facts]
    return Format(_csv_line(columns), line)


def _jsonl(files: Sequence[str], spec: ModelSpec, top_k: int, origin: Origin) -> Format:
    facts = origin().as_dict()

    def line(record: Record, picture: Path | None) -> str:
        top = {} if isinstance(record, Failure) else dict(record.top(top_k))
        drawn = None if picture is None else str(picture)
        document = {**record.as_dict(), "probabilities": top, "heatmap": drawn, **facts}
        return json.dumps(document, ensure_ascii=False)

    return Format("", line)


FORMATS: dict[str, Callable[[Sequence[str], ModelSpec, int, Origin], Format]] = {
    "table": _table,
    "jsonl": _jsonl,
    "csv": _csv,
}
"""For each name, what makes the format from the files to come, the model's spec, how many classes to show, and what
tells where the rows come from, which CSV and JSON lines carry and the table does not ask for."""


def _csv_line(fields: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(fields)  # whose characters are those that get quoted
    return line.getvalue().removesuffix("\r\n")
