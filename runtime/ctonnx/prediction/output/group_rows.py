"""Row formats of `ctonnx predict --by`: a table for people, CSV and JSON lines for programs."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity.rounding import shown
from ctonnx.prediction.output.heatmap_folder import common_root
from ctonnx.prediction.output.row_formats import SET_SEPARATOR, Origin, csv_line
from ctonnx.prediction.series.grouping import Group
from ctonnx.prediction.series.reduction import GroupFailure, GroupPrediction, GroupRecord, GroupRule
from ctonnx.system.text import counted, escape_control

__all__ = ["GROUP_FORMATS", "GroupFormat"]

_FOLDER_WIDTH = 32  # characters


class GroupFormat(NamedTuple):
    """Heading line, empty if the format has none, and a function for the row of a group with its picture's path."""

    head: str
    line: Callable[[GroupRecord, Path | None], str]


def _table(groups: Sequence[Group], spec: ModelSpec, rule: GroupRule, top_k: int, origin: Origin) -> GroupFormat:
    by = groups[0].by
    width = max(len(by), *(len(escape_control(group.name or "-")) for group in groups))
    class_width = max(len("class"), *(len(name) for name in spec.classes))
    # The name of a folder is its path; the pseudonym of another group does not show which files it has.
    folders = {} if by == "folder" else _short_folders(groups)
    folder_width = max(len("folder"), *map(len, folders.values())) if folders else 0

    def line(record: GroupRecord, picture: Path | None) -> str:
        name = f"{escape_control(record.name or '-'):{width}}"
        if isinstance(record, GroupFailure):
            if record.error is None:
                others = f" and {counted(len(record.folders) - 1, 'other')}" if len(record.folders) > 1 else ""
                return f"{name}  {_left_out(record)} in '{escape_control(record.folders[0])}'{others}"
            place = f" in '{folders[record.folders]}'" if record.name is not None and record.folders in folders else ""
            return f"{name}  error: {escape_control(record.error)}{place}"
        if folders:
            name += f"  {folders[record.folders]:{folder_width}}"
        score = shown(record.score, rule.point.threshold, digits=6, form="f")
        values = "  ".join(f"{label:{class_width}}  {value:11.4f}" for label, value in record.top(top_k))
        notes = "; ".join(escape_control(note) for note in _notes(record, picture))
        return f"{name}  {record.decision:8}  {score:>8}  {values}  {record.used:6}  {notes}"

    columns = [f"{'class':{class_width}}  probability"] * top_k
    place = f"{'folder':{folder_width}}  " if folders else ""
    return GroupFormat(f"{by:{width}}  {place}decision     score  {'  '.join(columns)}  slices  carried by", line)


def _short_folders(groups: Sequence[Group]) -> dict[tuple[str, ...], str]:
    """Returns the common folder of each group's files, by its folders: the path below the folder of all groups.

    A group whose files are in that folder itself has the folder's name in front. Of a long path, the middle is left
    out: the beginning often names the patient, and the end the series.
    """
    common = {group.folders: _common_folder(group.folders) for group in groups if group.name is not None}
    root = common_root(os.path.join(folder, "file") for folder in common.values())
    if root in common.values():
        root = str(Path(root).parent)
    names = {}
    for folders, folder in common.items():
        below = os.path.relpath(folder, root) if root else folder
        name = escape_control(Path(folder if below == "." else below).as_posix())
        if len(name) > _FOLDER_WIDTH:
            end = (_FOLDER_WIDTH - 3) // 2
            name = f"{name[: _FOLDER_WIDTH - 3 - end]}...{name[-end:]}"
        names[folders] = name
    return names


def _common_folder(folders: Sequence[str]) -> str:
    """Returns the absolute path of the folder that contains all folders; the first of those on several drives."""
    return common_root(os.path.join(folder, "file") for folder in folders) or str(Path(folders[0]).absolute())


def _notes(record: GroupPrediction, picture: Path | None) -> Iterator[str]:
    """Yields the notes of a row: the strongest slice, what was left out or failed, and why it is referred."""
    first, *_ = record.carried_by
    others = f" and {counted(record.carrying - 1, 'other')}" if record.carrying > 1 else ""
    yield f"{Path(first.file).name} at {first.place}{others}"
    if record.failed:
        first_failed = record.failures[0]
        yield f"{record.failed} failed: {Path(first_failed.source).name} ({first_failed.error})"
    if record.left_out:
        yield _left_out(record)
    if record.reason:
        yield f"reason: {record.reason}"
    if picture is not None:
        yield f"heatmap: {picture}"


def _left_out(record: GroupRecord) -> str:
    return "left out: " + ", ".join(f"{left.slices} {left.kind}" for left in record.left_out)


def _csv(groups: Sequence[Group], spec: ModelSpec, rule: GroupRule, top_k: int, origin: Origin) -> GroupFormat:
    facts = {**origin(), "threshold": rule.point.threshold}
    made_by = ["" if value is None else str(value) for value in facts.values()]
    ranks = [""] if top_k == 1 else [f"_{rank}" for rank in range(1, top_k + 1)]

    def line(record: GroupRecord, picture: Path | None) -> str:
        failures = SET_SEPARATOR.join(f"{one.source}: {one.error}" for one in record.failures)
        left_out = SET_SEPARATOR.join(f"{left.slices} {left.reason}" for left in record.left_out)
        group = [record.name or "", record.by, SET_SEPARATOR.join(record.folders)]
        if isinstance(record, GroupFailure):
            empty = [""] * (2 * top_k + 6)
            counts = ["", "", "0", "0", str(record.failed), failures, left_out, ""]
            return csv_line([*group, *empty, *counts, record.error or "", "", *made_by])
        decided = [
            *(record.decision, record.reason or "", shown(record.score, rule.point.threshold, digits=9, form="f")),
            *(field for name, value in record.top(top_k) for field in (name, f"{value:.6f}")),
            SET_SEPARATOR.join(record.prediction_set or ()),
            "" if record.novelty is None else f"{record.novelty:.9g}",
            "" if record.novel_share is None else f"{record.novel_share:.4f}",
        ]
        places = SET_SEPARATOR.join(one.place for one in record.carried_by)
        counts = [
            *(SET_SEPARATOR.join(one.file for one in record.carried_by), places),
            *(str(record.carrying), str(record.used), str(record.failed), failures, left_out, record.taken),
        ]
        return csv_line([*group, *decided, *counts, "", "" if picture is None else str(picture), *made_by])

    classes = (f"{name}{rank}" for rank in ranks for name in ("label", "probability"))
    columns = [
        *("group", "by", "folders", "decision", "reason", "score", *classes, "set", "novelty", "novel_share"),
        *("carried_by", "places", "carrying", "used", "failed", "failures", "left_out", "taken", "error", "heatmap"),
        *facts,
    ]
    return GroupFormat(csv_line(columns), line)


def _jsonl(groups: Sequence[Group], spec: ModelSpec, rule: GroupRule, top_k: int, origin: Origin) -> GroupFormat:
    facts = {**origin(), "threshold": rule.point.threshold}

    def line(record: GroupRecord, picture: Path | None) -> str:
        top = {} if isinstance(record, GroupFailure) else dict(record.top(top_k))
        drawn = None if picture is None else str(picture)
        return json.dumps({**record.as_dict(), "probabilities": top, "heatmap": drawn, **facts}, ensure_ascii=False)

    return GroupFormat("", line)


GROUP_FORMATS: dict[str, Callable[[Sequence[Group], ModelSpec, GroupRule, int, Origin], GroupFormat]] = {
    "table": _table,
    "jsonl": _jsonl,
    "csv": _csv,
}
"""Functions by name that return a row format for groups, the model's spec, what decides, the number of classes per row,
and the origin of the rows, which only CSV and JSON lines include."""
