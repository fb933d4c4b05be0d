"""Merges the parts of all shards to the rows of the whole run, after checking that no row is missing or double."""

import heapq
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

from ctonnx.errors import CtonnxError
from ctonnx.prediction.output.batch import OutputSettings, row_writer
from ctonnx.prediction.output.parts.part_file import Head, read_head, read_rows, row_of
from ctonnx.prediction.output.parts.split import Shard
from ctonnx.system.text import counted, quoted

__all__ = ["Merged", "merge_parts"]

_AT_A_TIME = 200_000  # rows that are sorted in memory: 100 MB
_MOST_NAMED = 20

_Keyed: TypeAlias = tuple[str, int, bool, int, bytes]
"""Name and frame of a row, whether it is a failure, the number of its part in the call, and its line."""


class Merged(NamedTuple):
    """Numbers of the parts, of their rows, and of rows with an error."""

    parts: int
    rows: int
    failed: int


def merge_parts(
    parts: Sequence[Path],
    output: Path | None,
    *,
    print_row: Callable[[str], None] = print,
    step: Callable[[int], None] = lambda rows: None,
    at_a_time: int = _AT_A_TIME,
) -> Merged:
    """Writes the rows of all parts of a split, sorted by file and frame: the same rows in any order of the parts.

    Args:
        parts: The files, in any order.
        output: File that the rows replace atomically; None calls `print_row` with each.
        print_row: Called with each row if there is no `output`.
        step: Called with numbers of rows that were read.
        at_a_time: Number of rows that are sorted in memory; of more, sorted files are merged.

    Raises:
        CtonnxError: If a part is missing, double, not complete or not of the same split, model and settings, or a row
            is missing, double or of another model.
        OSError: If a file cannot be read or written.
    """
    parts = list(dict.fromkeys(parts))
    heads = {part: _head_of(part) for part in parts}
    _check_split(heads)
    counts = [0, 0]
    with ExitStack() as stack:
        write = stack.enter_context(row_writer(OutputSettings(row_format="jsonl", output=output, print_row=print_row)))
        folder = Path.cwd() if output is None else output.parent
        last: _Keyed | None = None
        for row in _sorted(_rows(heads, step), folder, stack, at_a_time):
            if last is not None and last[:2] == row[:2]:
                one, other = parts[last[3]], parts[row[3]]
                where = f"twice in '{one}'" if one == other else f"in '{one}' and in '{other}'"
                raise CtonnxError(f"expected each row once, found that of '{row[0]}' {where}; make these parts again")
            write(row[4].decode("utf-8").removesuffix("\n"))
            counts[0] += 1
            counts[1] += row[2]
            last = row
    return Merged(len(heads), *counts)


def _head_of(part: Path) -> Head:
    head = read_head(part)
    if head is None or head.shard is None:
        raise CtonnxError(
            f"expected a part that ctonnx predict --shard wrote, found another file in '{part}'; leave it out"
        )
    return head


def _check_split(heads: dict[Path, Head]) -> None:
    """Raises an error if these are not all parts of one split, complete and made alike."""
    unfinished = [part for part, head in heads.items() if head.rows is None]
    if unfinished:
        raise CtonnxError(
            f"expected complete parts, found {counted(len(unfinished), 'part')} of a run that was stopped or is "
            f"running: {_some(unfinished)}; continue with --resume"
        )
    (first, one), *others = heads.items()
    shards = {part: Shard.of(str(head.shard)) for part, head in heads.items()}
    for part, head in others:
        if shards[part].count != shards[first].count:
            raise CtonnxError(
                f"expected parts of one split, found {one.shard} in '{first}' and {head.shard} in '{part}'; merge each "
                "split alone"
            )
        for name, value in {**one.made_with, "listed": one.listed, "listing": one.listing}.items():
            if (there := getattr(head, name)) != value:
                raise CtonnxError(_unlike(name, first, value, part, there))
    by_number: dict[int, Path] = {}
    for part, shard in shards.items():
        if (double := by_number.setdefault(shard.number, part)) is not part:
            raise CtonnxError(f"expected each part once, found {shard} in '{double}' and in '{part}'; leave one out")
    count = shards[first].count
    if missing := [f"{number}/{count}" for number in range(1, count + 1) if number not in by_number]:
        raise CtonnxError(
            f"expected all parts from 1/{count} to {count}/{count}, found {len(by_number)}; missing: {_some(missing)}"
        )
    if (files := sum(head.files for head in heads.values())) != one.listed:
        raise CtonnxError(
            f"expected parts with {counted(one.listed, 'file')} in all, found {files}; make them again with one version"
        )


def _unlike(name: str, first: Path, value: object, part: Path, there: object) -> str:
    """Returns the message about two parts that differ in what all parts of a split have in common."""
    if name in ("listed", "listing"):
        found = f"{value} in '{first}' and {there} in '{part}'" if name == "listed" else f"others in '{part}'"
        return (
            f"expected parts of one list of files, found {found} (files were added or removed, or PATH is another); "
            "run all shards again with --resume"
        )
    return f"expected parts with one {name}, found {value} in '{first}' and {there} in '{part}'; make one of them again"


def _some(names: Sequence[object]) -> str:
    more = len(names) - _MOST_NAMED
    named = names[:_MOST_NAMED]
    text = ", ".join(map(str, named)) if isinstance(names[0], str) else quoted(named)
    return f"{text} and {more} more" if more > 0 else text


def _rows(heads: dict[Path, Head], step: Callable[[int], None]) -> Iterator[_Keyed]:
    for number, (part, head) in enumerate(heads.items()):
        count = 0
        for row, line in read_rows(part):
            if row.model_sha256 != head.model_sha256:
                raise CtonnxError(
                    f"expected rows of one model in '{part}', found {head.model_sha256} in its first line and "
                    f"{row.model_sha256} in the row of '{row.name}'; make it again"
                )
            count += 1
            step(1)
            yield row.name, row.frame, row.is_failed, number, line
        if count != head.rows:
            raise CtonnxError(f"expected {head.rows} rows in '{part}', by its first line, found {count}; make it again")


def _sorted(rows: Iterator[_Keyed], folder: Path, stack: ExitStack, at_a_time: int) -> Iterator[_Keyed]:
    """Yields rows by name and frame; of many, it keeps sorted files without names in a folder meanwhile."""
    files: list[Iterable[_Keyed]] = []
    while chunk := sorted(islice(rows, at_a_time), key=_order):
        if not files and len(chunk) < at_a_time:
            yield from chunk
            return
        file = stack.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 - the stack closes it
        for row in chunk:
            _write(file, row)
        file.seek(0)
        files.append(_read(file))
    yield from heapq.merge(*files, key=_order)


def _order(row: _Keyed) -> tuple[str, int]:
    return row[0], row[1]


def _write(file: BinaryIO, row: _Keyed) -> None:
    file.write(b"%d " % row[3] + row[4])


def _read(file: BinaryIO) -> Iterator[_Keyed]:
    for line in file:
        part, _, json_line = line.partition(b" ")
        row = row_of(json_line)
        yield row.name, row.frame, row.is_failed, int(part), json_line
