"""The rows of a part of a run in a file: written as they come, continued after a stop, complete at the end.

A part of a split begins with a line that is not a row. It has the shard, the model and the settings of all rows, and
whether the part is complete. A run that is continued without a split has this line only until it is complete.

A killed process leaves complete rows, and at most one half row at the end, which is dropped when the run is continued.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ctonnx.errors import CtonnxError
from ctonnx.prediction.output.parts.split import Split
from ctonnx.prediction.series.slices import folder_of
from ctonnx.system.files import atomic_file, made_folders
from ctonnx.system.temporary_files import remove_leftovers
from ctonnx.system.text import Log, counted

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Head", "PartRows", "RowPlace", "open_part", "read_head", "read_rows", "row_of"]

_MARK = "ctonnx_part"


@dataclass(frozen=True, kw_only=True)
class Head:
    """First line of a part.

    Attributes:
        shard: Name of the shard, such as `3/16`; None of a run without a split.
        by: Kind of the groups that have rows; None for images.
        model_sha256: SHA-256 of the model's file.
        provider: Execution provider.
        top_k: Number of classes per row.
        version: Version of ctonnx.
        files: Number of files of the shard.
        listed: Number of files of all shards, as this one saw them.
        listing: Digest of their names.
        rows: Number of rows; None while the part is not complete.
    """

    shard: str | None
    by: str | None
    model_sha256: str
    provider: str
    top_k: int
    version: str
    files: int = 0
    listed: int = 0
    listing: str = ""
    rows: int | None = None

    @property
    def made_with(self) -> dict[str, Any]:
        """Values that all rows of a split have in common, by name."""
        return {name: getattr(self, name) for name in ("by", "model_sha256", "provider", "top_k", "version")}

    def line(self) -> bytes:
        """Returns the line, with its end."""
        return json.dumps({_MARK: 1, **asdict(self)}).encode() + b"\n"


class RowPlace(NamedTuple):
    """A row of a file: what it is about, and where it is.

    Attributes:
        name: Path of the image's file, or name of the group.
        frame: Index of the frame; -1 without frames.
        is_failed: Whether a file could not be read, so that another attempt may have another result.
        model_sha256: SHA-256 of the model's file.
        by: Kind of the group; None of an image.
        classes: Number of classes in the row; 0 of a failure.
        start: Offset of its first byte.
        size: Number of its bytes, with the end of the line.
    """

    name: str
    frame: int
    is_failed: bool
    model_sha256: str
    by: str | None
    classes: int
    start: int
    size: int


def read_head(path: Path) -> Head | None:
    """Returns the first line of a part, or None if the file begins with something else.

    Raises:
        CtonnxError: If the line is of another version of the format.
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        document = _parsed(file.readline())
    if document is None or _MARK not in document:
        return None
    names = {field.name for field in fields(Head)}
    if document.pop(_MARK) != 1 or set(document) != names:
        raise CtonnxError(
            f"expected a part that this version of ctonnx wrote, found one of another in '{path}'; make it again"
        )
    return Head(**document)


def read_rows(path: Path) -> Iterator[tuple[RowPlace, bytes]]:
    """Yields each row of a file and its line, without the first line of a part and without a half row at the end.

    Raises:
        CtonnxError: If another line is not a row in JSON.
        OSError: If the file cannot be read.
    """
    start = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            if number == 1 and _MARK in (_parsed(line) or {}):
                start += len(line)
                continue
            try:
                row = row_of(line, start)
            except ValueError:
                shown = line[:60].decode("utf-8", "replace").rstrip()
                raise CtonnxError(
                    f"expected rows of ctonnx predict as JSON lines in '{path}', found '{shown}' in line {number}; "
                    "name another file"
                ) from None
            yield row, line
            start += len(line)


def row_of(line: bytes, start: int = 0) -> RowPlace:
    """Returns the row of a line that begins at an offset.

    Raises:
        ValueError: If the line is not a row.
    """
    document = _parsed(line) or {}
    try:
        name, frame = document["group"] if "group" in document else document["file"], document.get("frame")
        return RowPlace(
            name=name if frame is None else name.removesuffix(f"#{frame + 1}"),
            frame=-1 if frame is None else frame,
            is_failed=document["error"] is not None or bool(document.get("failed")),
            model_sha256=sys.intern(document["model_sha256"]),
            by=document.get("by"),
            classes=len(document["probabilities"]),
            start=start,
            size=len(line),
        )
    except (KeyError, TypeError) as error:
        raise ValueError("not a row of ctonnx predict") from error


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


class PartRows:
    """Rows of a part that is being written.

    Attributes:
        todo: Files without rows, in order.
    """

    def __init__(self, path: Path, todo: list[str]) -> None:
        self.todo = todo
        self._path = path
        self._file: BinaryIO | None = None

    def add(self, row: str) -> None:
        """Adds a row to the file, where it stays if this process is killed at the next moment."""
        if self._file is None:
            raise ValueError("this part is complete; open it again")
        try:
            self._file.write(f"{row}\n".encode("utf-8", "backslashreplace"))  # names with invalid UTF-8 escaped
            self._file.flush()
        except OSError as error:
            error.filename = error.filename or str(self._path)
            raise


@contextmanager
def open_part(
    path: Path, head: Head, split: Split, *, resume: bool, log: Log = lambda line: None
) -> Iterator[PartRows]:
    """Yields the rows of a part, to which those of its `todo` files are added; completes it at the end of the block.

    A complete part has its rows in the order of the files, and their number in its first line. If the block ends with
    an error or Ctrl-C, the rows that were added stay, and `resume` continues them. Rows with errors are removed then,
    and their files tried again, and so is a last file with several frames, some of whose rows may be missing.

    Args:
        path: The file; its folder is made if it is missing.
        head: Values that all rows have in common, and the shard.
        split: The files of the shard.
        resume: Whether to continue the file, if it exists.
        log: Called with a line about what is continued, and what is left.

    Raises:
        CtonnxError: If the file exists and is not to be continued, has rows of another model, other settings, another
            shard or other files, or another process is writing it.
        OSError: If it cannot be read or written.
    """
    head = replace(head, files=len(split.files), listed=split.listing.files, listing=split.listing.digest, rows=None)
    with made_folders(path.parent), ExitStack() as stack:
        remove_leftovers([Path(os.path.realpath(path)).parent], log)
        kept, is_complete = list[RowPlace](), False
        if path.exists():
            if not resume:
                raise CtonnxError(
                    f"expected no file at '{path}', found one; add --resume to continue it, delete it, or name another"
                )
            _lock(stack, path)
            kept, is_complete = _rows_to_keep(path, head, split, log)
        names = {row.name for row in kept}
        todo = [file for file in split.files if _unit(file, head) not in names]
        if kept:
            log(
                f"continued: '{path}' has {counted(len(kept), 'row')} to keep; "
                f"{counted(len(todo), 'file')} of {len(split.files)} left"
            )
        part = PartRows(path, todo)
        if is_complete and not todo:
            yield part  # the file stays as it is
            return
        part._file = _started(stack, path, head, kept)
        try:
            yield part
        except BaseException:
            if part._file.tell() == len(head.line()):
                Path(os.path.realpath(path)).unlink()  # a link stays
            else:
                log(f"not complete: the rows so far are in '{path}'; continue with --resume")
            raise
        _complete(path, head, split)


def _rows_to_keep(path: Path, head: Head, split: Split, log: Log) -> tuple[list[RowPlace], bool]:
    """Returns the rows of a file that a run continues, and whether the file needs no change if no file is left."""
    old, rows = read_head(path), [row for row, _ in read_rows(path)]
    _check_made_alike(path, old, head, rows)
    if rows and not {row.name for row in rows} & {_unit(file, head) for file in split.files}:
        raise CtonnxError(
            f"expected rows of the same files in '{path}', found those of others, such as '{rows[0].name}'; name PATH "
            "as it was named then, or another --output"
        )
    dropped = {row.name for row in rows if row.is_failed}
    if rows and rows[-1].frame >= 0 and (old is None or old.rows is None):
        dropped.add(rows[-1].name)
    kept = [row for row in rows if row.name not in dropped]
    if head.shard is not None or old is not None:
        is_complete = replace(head, rows=len(rows)) == old
    else:
        is_complete = bool(rows) and rows[-1].start + rows[-1].size == path.stat().st_size
    if failed := {row.name for row in rows if row.is_failed}:
        log(f"tried again: {counted(len(failed), head.by or 'file')} that could not be read")
    return kept, is_complete and not dropped


def _check_made_alike(path: Path, old: Head | None, head: Head, rows: Sequence[RowPlace]) -> None:
    """Raises an error if rows are not those that the run of `head` would write."""
    if old is None and head.shard is not None and rows:
        raise CtonnxError(
            f"expected the part {head.shard} in '{path}', found rows of a run without --shard; name another --output"
        )
    found = {} if old is None else {"shard": old.shard, **old.made_with}
    wrong = (row for row in rows if row.model_sha256 != head.model_sha256 or row.by != head.by)
    unlike = next((row for row in rows if row.classes not in (0, head.top_k)), None)
    if (row := next(wrong, unlike)) is not None:
        found |= {"model_sha256": row.model_sha256, "by": row.by, "top_k": row.classes or head.top_k}
    if differing := [name for name, value in found.items() if value != getattr(head, name)]:
        here, there = (
            ", ".join(f"{name} {_shown(values[name])}" for name in differing) for values in (asdict(head), found)
        )
        raise CtonnxError(
            f"expected rows of the same model and settings in '{path}' ({here}), found {there}; use those, or name "
            "another --output"
        )


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def _unit(file: str, head: Head) -> str:
    """Returns the name that the rows of a file have: its path, or its folder."""
    return file if head.by is None else folder_of(file)


def _started(stack: ExitStack, path: Path, head: Head, kept: Sequence[RowPlace]) -> BinaryIO:
    """Replaces the file by the first line of a part that is not complete, and rows that stay; opens its end."""
    with atomic_file(path) as temporary:
        with temporary.open("wb") as new:
            new.write(head.line())
            _copy(path, kept, new)
        _lock(stack, temporary)  # it is the file from the next moment on
    return stack.enter_context(path.open("ab"))


def _complete(path: Path, head: Head, split: Split) -> None:
    """Replaces the file by its rows in the order of the files, after the first line of a part that is complete."""
    places = {unit: place for place, unit in enumerate(dict.fromkeys(_unit(file, head) for file in split.files))}
    rows = [row for row, _ in read_rows(path)]
    rows.sort(key=lambda row: (places.get(row.name, len(places)), row.name, row.frame))
    with atomic_file(path) as temporary, temporary.open("wb") as new:
        if head.shard is not None:
            new.write(replace(head, rows=len(rows)).line())
        _copy(path, rows, new)


def _copy(path: Path, rows: Sequence[RowPlace], new: BinaryIO) -> None:
    if not rows:
        return
    with path.open("rb") as file:
        for row in rows:
            file.seek(row.start)
            new.write(file.read(row.size))


def _lock(stack: ExitStack, path: Path) -> None:
    """Locks a file for this process, until the stack is closed; not on Windows and on file systems without locks."""
    if fcntl is None:
        return
    file = stack.enter_context(path.open("rb"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CtonnxError(
            f"expected that no other process writes '{path}', found one; wait for it, or name another --output"
        ) from None
    except OSError:
        return
