"""How `ctonnx predict` writes its records: a table for people, CSV and JSON lines for programs."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ctonnx.images import may_have_frames
from ctonnx.predictor import Failure, Record
from ctonnx.spec import ModelSpec

__all__ = ["FORMATS", "Format", "one_line"]


_FRAME = len("#9999")  # how many frames a file has is not known before it is read
_SUSPICION = ("suspicious", "   score")  # where the model has an operating point


class Format(NamedTuple):
    """A heading line, empty where the format has none, and what turns a record into its line."""

    head: str
    line: Callable[[Record], str]


def _table(files: Sequence[str], spec: ModelSpec, top_k: int) -> Format:
    widths = (len(one_line(file)) + _FRAME * may_have_frames(file) for file in files)
    file_width = max(len("file"), *widths)
    suspicion = _SUSPICION if spec.operating_point else ()  # no columns where the model cannot fill them
    class_width = max(len("class"), *(len(name) for name in spec.classes))

    def line(record: Record) -> str:
        if isinstance(record, Failure):
            answers = f"error: {one_line(record.error)}"
        else:
            answers = "  ".join(f"{name:{class_width}}  {value:11.4f}" for name, value in record.top(top_k))
            if record.score is not None:  # as many digits as the threshold is shown with
                answers = f"{'yes' if record.suspicious else 'no':{len(_SUSPICION[0])}}  {record.score:8.6f}  {answers}"
            if record.caution:
                answers += f"  caution: {one_line(record.caution)}"
        return f"{one_line(record.source):{file_width}}  {answers}"

    columns = [*suspicion] + [f"{'class':{class_width}}  probability"] * top_k
    return Format(f"{'file':{file_width}}  " + "  ".join(columns), line)


def _csv(files: Sequence[str], spec: ModelSpec, top_k: int) -> Format:
    def line(record: Record) -> str:
        if isinstance(record, Failure):
            return _csv_line([record.source, *[""] * (2 * top_k + 3), record.error])
        answers = [field for name, value in record.top(top_k) for field in (name, f"{value:.6f}")]
        suspicious = "" if record.suspicious is None else str(record.suspicious).lower()
        # All digits: what is suspicious is what reaches the threshold, and near 1 there is much between six of them.
        score = "" if record.score is None else f"{record.score:.9f}"
        return _csv_line([record.source, *answers, suspicious, score, record.caution or "", ""])

    ranks = [""] if top_k == 1 else [f"_{rank}" for rank in range(1, top_k + 1)]
    answered = (f"{name}{rank}" for rank in ranks for name in ("label", "probability"))
    return Format(_csv_line(["file", *answered, "suspicious", "score", "caution", "error"]), line)


def _jsonl(files: Sequence[str], spec: ModelSpec, top_k: int) -> Format:
    def line(record: Record) -> str:
        top = {} if isinstance(record, Failure) else dict(record.top(top_k))
        return json.dumps({**record.as_dict(), "probabilities": top}, ensure_ascii=False)

    return Format("", line)


FORMATS: dict[str, Callable[[Sequence[str], ModelSpec, int], Format]] = {
    "table": _table,
    "jsonl": _jsonl,
    "csv": _csv,
}
"""For each name, what makes the format from the files to come, the model's spec and how many classes to show."""


def one_line(text: str) -> str:
    """Escapes what would break the row or steer the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _csv_line(fields: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(fields)  # whose characters are those that get quoted
    return line.getvalue().removesuffix("\r\n")
