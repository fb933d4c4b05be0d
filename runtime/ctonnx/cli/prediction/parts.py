"""`ctonnx predict --shard`, `--resume` and `--merge`: options, their checks, and the notes on stderr."""

import glob
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from ctonnx.system.text import counted

if TYPE_CHECKING:
    from ctonnx.prediction.output.batch import OutputSettings
    from ctonnx.prediction.output.parts.split import Shard, Split
    from ctonnx.prediction.predictor import Predictor

__all__ = ["AskedPart", "asked_part", "merge_and_show", "parts_options"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_OF_MERGE = {"paths", "merge", "output", "output_format"}


def _shard(ctx: click.Context, parameter: click.Parameter, value: str | None) -> "Shard | None":
    if value is None:
        return None
    from ctonnx.prediction.output.parts.split import Shard

    try:
        return Shard.of(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", ctx, parameter) from error


def _time(ctx: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise click.BadParameter(
            f"expected ISO 8601 with a time zone, as in 2026-12-01T08:00:00Z, found '{value}'.", ctx, parameter
        )
    return time


_OPTIONS = (
    click.option(
        "--shard",
        metavar="I/N",
        callback=_shard,
        help="Predict only shard I of N: the files that the hash of their name selects, the same on each machine. With "
        "--by folder, whole folders. Rows are written to --output, a .jsonl file, as they come.",
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Continue --output, a .jsonl file that --shard or --resume began: predict the files without a row, and "
        "again those that could not be read. Without such a file, start it. With --engine ray, --output is a folder.",
    ),
    click.option(
        "--merge",
        is_flag=True,
        help="Merge the parts of all shards, which PATH names, to the rows of the whole run, sorted by file; a part or "
        "a row that is missing or double is an error.",
    ),
    click.option(
        "--time",
        "started",
        metavar="TIME",
        callback=_time,
        help="Time in the rows, ISO 8601 with a time zone: one for all shards; default: start of this run.",
    ),
)


def parts_options(command: _Command) -> _Command:
    """Adds `--shard`, `--resume`, `--merge` and `--time` to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class AskedPart(NamedTuple):
    """The part of `--shard` and `--resume`: its shard, None for all files, and whether `output` is continued."""

    shard: "Shard | None"
    resume: bool
    output: Path
    by: str | None

    def files_of(self, files: Sequence[str], paths: Sequence[str]) -> "Split":
        """Returns the files of the shard; `paths` are those of the command line, without `-`."""
        from ctonnx.prediction.output.parts.split import Shard, names_below, split_files

        shard = Shard(1, 1) if self.shard is None else self.shard
        return split_files(files, shard, names_below(paths), whole_folders=self.by == "folder")

    @contextmanager
    def opened(
        self, predictor: "Predictor", split: "Split", settings: "OutputSettings"
    ) -> Iterator[tuple[list[str], "OutputSettings"]]:
        """Yields the files without rows, and the settings with which their rows are added to the part.

        Raises:
            CtonnxError: If the part cannot be continued.
            OSError: If it cannot be read or written.
        """
        import ctonnx
        from ctonnx.prediction.output.parts.part_file import Head, open_part

        head = Head(
            shard=None if self.shard is None else str(self.shard),
            by=self.by,
            model_sha256=predictor.sha256,
            provider=predictor.provider,
            top_k=min(settings.top_k, len(predictor.spec.classes)),
            version=ctonnx.__version__,
        )
        if self.shard is not None:
            files = f"{len(split.files)} of {counted(split.listing.files, 'file')}"
            settings.log(f"shard: {self.shard}, {files}")
        with open_part(self.output, head, split, resume=self.resume, log=settings.log) as part:
            yield part.todo, replace(settings, add_row=part.add)
        if self.shard is not None:
            settings.log(f"complete: part {self.shard}")


def asked_part(
    shard: "Shard | None", resume: bool, *, output: Path | None, row_format: str, by: str | None, **others: object
) -> AskedPart | None:
    """Returns the part of `--shard` and `--resume`, or None without both.

    `others` are options that leave out rows or write other files, by their names; a part cannot have them.

    Raises:
        click.UsageError: If an option contradicts these.
    """
    if shard is None and not resume:
        return None
    option = "--resume" if shard is None else "--shard"
    if output is None or row_format != "jsonl":
        found = "none" if output is None else f"'{output}'"
        raise click.UsageError(f"expected --output with a .jsonl file for {option}, found {found}")
    for name, value in others.items():
        if value:
            raise click.UsageError(
                f"expected {option} without --{name.replace('_', '-')}, found both; use it on the rows of the whole run"
                if name in ("sort", "suspicious_only")
                else f"expected {option} without --{name.replace('_', '-')}, found both"
            )
    if by not in (None, "folder"):
        raise click.UsageError(
            f"expected {option} without --by or with --by folder, found --by {by}: the slices of one {by} may be in "
            f"several shards, and its pseudonym is new in each run; use --by folder, or one run for each {by}"
        )
    return AskedPart(shard, resume, output, by)


def merge_and_show(
    paths: Sequence[str],
    output: Path | None,
    output_format: str | None,
    *,
    print_row: Callable[[str], None],
    progress: Callable[..., AbstractContextManager[Callable[[int], None]]],
) -> None:
    """Merges parts, and prints their numbers.

    Raises:
        click.UsageError: If another option is used, the output is not for JSON lines, or no part is named.
        CtonnxError: If the parts are not those of one whole run.
    """
    from ctonnx.prediction.output.parts.merging import merge_parts
    from ctonnx.prediction.output.parts.part_file import read_head

    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name not in _OF_MERGE and source is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"expected --merge with PATH and --output alone, found {max(parameter.opts, key=len)} too"
            )
    if output_format not in (None, "jsonl") or (
        output is not None and output.suffix.lower() not in (".jsonl", ".ndjson")
    ):
        raise click.UsageError("expected a .jsonl file for --output with --merge, as its parts are JSON lines")
    parts = _part_files(paths, output)
    count = sum((head and head.rows) or 0 for head in map(read_head, parts))
    is_elsewhere = output is not None or not sys.stdout.isatty()
    with progress(count, shown=is_elsewhere, label="merging", unit="rows") as step:
        merged = merge_parts(parts, output, print_row=print_row, step=step)
    failed = f", {merged.failed} with an error" if merged.failed else ""
    log = partial(click.echo, err=True)
    log(f"merged: {counted(merged.parts, 'part')}, {counted(merged.rows, 'row')}{failed}")
    if output is not None:
        log(f"written: {output}")


def _part_files(paths: Sequence[str], output: Path | None) -> list[Path]:
    """Returns the parts of files, folders and patterns, without the output, which may be among them."""
    found: list[str] = []
    for path in paths:
        if os.path.isdir(path):
            found += sorted(glob.glob(os.path.join(glob.escape(path), "*.jsonl")))
        elif os.path.lexists(path) or not glob.has_magic(path):
            found.append(path)
        else:
            found += sorted(glob.glob(path, recursive=True))
    written = None if output is None else os.path.realpath(output)
    parts = [Path(file) for file in dict.fromkeys(found) if os.path.realpath(file) != written]
    if not parts:
        raise click.UsageError("expected the parts of a split as PATH of --merge, found none")
    return parts
