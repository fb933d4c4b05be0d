"""`ctonnx predict`: classify images with an exported model."""

import codecs
import errno
import locale
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctonnx.cli.model_banner import introduce
from ctonnx.cli.options import model_option, provider_option, threads_option
from ctonnx.parity.rounding import exactly
from ctonnx.system.text import counted

if TYPE_CHECKING:
    from ctonnx.artifacts.spec import ModelSpec
    from ctonnx.inference.providers import Provider
    from ctonnx.inference.tuning import Setting
    from ctonnx.prediction.output.heatmap_folder import HeatmapFolder

__all__ = ["predict"]

_FORMAT_OF = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def _batch_size(ctx: click.Context, parameter: click.Parameter, value: str) -> int | None:
    if value == "auto":
        return None
    number: int = click.IntRange(1)(value, parameter, ctx)
    return number


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@model_option
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "jsonl", "csv"]),
    help="A table for people; JSON lines or CSV for programs.  [default: table, or by --output's ending]",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A .csv or .jsonl file for the rows, which is written whole or not at all, in a folder that is made where it "
    "is missing; default: stdout.",
)
@click.option(
    "--heatmaps",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="For each image a PNG there: the scan, beside it the scan with the map of what spoke for its class.",
)
@click.option("--suspicious-only", is_flag=True, help="Rows and heatmaps of suspicious images and of failures alone.")
@click.option(
    "--sort",
    type=click.Choice(["score", "probability"]),
    help="Print the rows when all are known, the greatest first, failures last; default: as they come, in the files' "
    "order.",
)
@click.option("--top-k", type=click.IntRange(1), default=1, show_default=True, help="How many classes to show.")
@provider_option
@click.option("--fallback", is_flag=True, help="Take the CPU where the provider does not run, and say so.")
@click.option(
    "--batch-size",
    metavar="auto|INTEGER",
    default="auto",
    show_default=True,
    callback=_batch_size,
    help="Images for the model at a time.",
)
@threads_option
@click.option(
    "--tuned", is_flag=True, help="With the settings that ctonnx bench --sweep found to be best on this device."
)
@click.option(
    "--check/--no-check",
    default=True,
    show_default=True,
    help="Compare the model's checksum first, which finds a damaged file.",
)
@click.option(
    "--null", "-0", is_flag=True, help="Names on stdin end with a NUL character, as find -print0 writes them."
)
def predict(
    paths: tuple[str, ...],
    model: Path | None,
    output_format: str | None,
    output: Path | None,
    heatmaps: Path | None,
    suspicious_only: bool,
    sort: str | None,
    top_k: int,
    provider: "Provider",
    fallback: bool,
    batch_size: int | None,
    threads: int | None,
    tuned: bool,
    check: bool,
    null: bool,
) -> None:
    """Classify images with an exported model.

    PATH is an image, a folder (read recursively), a quoted glob, or - for file names on stdin, one a line. One row for
    each file goes to stdout; what cannot be read gets a row with its error, and the exit code is 1 at the end, as it is
    where a heatmap cannot be drawn.

    \b
    Examples:
      ctonnx predict scans/
      ctonnx predict --top-k 3 --output answers.csv "scans/**/*.png"
      ctonnx predict --suspicious-only --sort score --heatmaps maps scans/
      find /share -name "*.dcm" -print0 | ctonnx predict -0 - --output answers.jsonl
    """
    from ctonnx.prediction.inputs import find_images, without_own
    from ctonnx.prediction.output.provenance import provenance
    from ctonnx.prediction.output.row_formats import FORMATS
    from ctonnx.prediction.output.row_order import ordered
    from ctonnx.prediction.predictor import Predictor, workers_for
    from ctonnx.prediction.results import Failure
    from ctonnx.system.text import escape_control

    chosen = _format(output_format, output)
    _refuse_within(heatmaps, paths)
    found = _names_on_stdin(paths, null=null) if "-" in paths or null else find_images(paths)
    files = without_own(found, output=output, heatmaps=heatmaps)
    newest = model is None
    workers = workers_for(len(files), threads=threads)
    spinning = True
    if tuned:
        if threads is not None or batch_size is not None or fallback:
            raise click.UsageError("expected --tuned without --threads, --batch-size and --fallback: it sets them")
        model, setting = _tuned(model, provider, len(files))
        threads, workers, spinning = setting.threads, setting.workers, setting.spinning
        batch_size = setting.batch_size
    predictor = Predictor(
        model,
        provider=provider,
        fallback=fallback,
        threads=threads,
        workers=workers,
        spinning=spinning,
        check=check,
    )
    spec = predictor.spec
    introduce(predictor, newest=newest)
    for option, asked in (("--suspicious-only", suspicious_only), ("--sort score", sort == "score")):
        if asked and spec.operating_point is None:
            raise click.UsageError(
                f"expected a model with an operating point for {option}, found none in '{predictor.path}'; train it on "
                "images of suspicious classes and of others"
            )
    origin = partial(provenance, predictor.path, spec)
    head, line = FORMATS[chosen](files, spec, min(top_k, len(spec.classes)), origin)
    failed, predicted, suspicious, start = 0, 0, 0, time.perf_counter()
    with (
        _writing(output) as write,
        _drawing(heatmaps, files, spec, suspicious_only=suspicious_only) as drawing,
        ordered(write, sort) as put,
        _progress(len(files), shown=bool(output or sort) or not sys.stdout.isatty()) as step,
    ):
        if head:
            write(head)
        watch = None if drawing is None else drawing.watch
        for record in predictor.predict_many(files, batch_size=batch_size, watch=watch):
            if isinstance(record, Failure):
                failed += 1
                put(record, line(record, None))
                if drawing is not None:
                    drawing.remove(record)
            else:
                predicted += 1
                suspicious += bool(record.suspicious)
                if record.suspicious or not suspicious_only:
                    put(record, line(record, None if drawing is None else drawing.picture(record)))
            step(not record.frame)
    undrawn = [] if drawing is None else drawing.failures
    for source, reason in undrawn:
        said = escape_control(f"expected to draw the heatmap of '{source}', failed: {reason}; its row is there")
        click.echo(f"warning: {said}", err=True)
    _conclude(len(files), failed, predicted, suspicious, len(undrawn), time.perf_counter() - start, spec)
    if output is not None:
        click.echo(f"written: {output}", err=True)
    if failed or undrawn:
        click.get_current_context().exit(1)


def _tuned(model: Path | None, provider: "Provider", images: int) -> tuple[Path, "Setting"]:
    """Returns the model's file, and the settings that are best for so many images on this device."""
    from ctonnx.inference.tuning import read_tuning
    from ctonnx.prediction.model_selection import find_model

    file = find_model(model, provider=provider)
    setting = read_tuning(file, provider=provider).best_for(images)
    click.echo(f"tuned: {setting.summary}", err=True)
    return file, setting


def _format(chosen: str | None, output: Path | None) -> str:
    """Returns the format that was chosen, or that the output's ending names."""
    if output is None:
        return chosen or "table"
    named = _FORMAT_OF.get(output.suffix.lower())
    if chosen == "table" or (named is None and chosen is None) or (chosen and named and chosen != named):
        raise click.UsageError(
            f"expected --output to end in .csv or .jsonl, as its --format, found '{output}'"
            + (f" with --format {chosen}" if chosen else "")
        )
    return chosen or named or "csv"


def _refuse_within(heatmaps: Path | None, paths: Sequence[str]) -> None:
    """Ends the command where the heatmaps would lie among the scans, and be taken for scans the next time."""
    if heatmaps is None:
        return
    for path in paths:
        if Path(path).is_dir() and heatmaps.resolve().is_relative_to(Path(path).resolve()):
            raise click.UsageError(
                f"expected a folder for --heatmaps that is not in '{path}', whose files are read, found '{heatmaps}'"
            )


def _names_on_stdin(paths: Sequence[str], *, null: bool) -> list[str]:
    """Returns the file names on stdin as they are: none of them is a pattern, and bytes that are no text stay."""
    if list(paths) != ["-"]:
        raise click.UsageError("expected - alone in the place of PATH, for names on stdin, found other paths beside it")
    data = sys.stdin.buffer.read().removeprefix(codecs.BOM_UTF8)  # with which editors on Windows begin a file
    if not null and b"\0" in data:
        raise click.UsageError(
            "expected a file name on each line of stdin, found NUL characters; names that end with them are read with "
            "-0: ctonnx predict -0 -"
        )
    names = data.split(b"\0") if null else data.splitlines()
    if not (files := [_name(name) for name in names if name]):
        raise click.UsageError("expected file names on stdin, found none")
    return files


def _name(name: bytes) -> str:
    try:
        return os.fsdecode(name)
    except UnicodeDecodeError:  # on Windows, where names that are not UTF-8 come in the system's code page
        return name.decode(locale.getencoding(), errors="surrogateescape")


def _conclude(
    files: int, failed: int, predicted: int, suspicious: int, undrawn: int, seconds: float, spec: "ModelSpec"
) -> None:
    results = f"{predicted} predicted" + (f" ({suspicious} suspicious)" if spec.operating_point else "")
    named, images = counted(files, "file"), predicted + failed
    if images != files:  # each frame of a file is an image
        named += f", {counted(images, 'image')}"
    lacking = f", {undrawn} without {'its heatmap' if undrawn == 1 else 'their heatmaps'}" if undrawn else ""
    rate = f"; {predicted / seconds:.1f} images/s" if predicted else ""
    click.echo(f"{named}: {results}, {failed} failed{lacking}{rate}", err=True)
    if point := spec.operating_point:
        threshold = exactly(point.threshold, digits=6, form="f")  # with which the scores in the rows are compared
        click.echo(
            f"suspicious: {' + '.join(point.positive)} at {threshold} or more ({point.metrics_text} on its "
            "validation images)",
            err=True,
        )


@contextmanager
def _writing(output: Path | None) -> Iterator[Callable[[str], None]]:
    """Yields what writes a row: to stdout, or to a file that appears when the block ends without an error."""
    if output is None:
        yield _show
        return
    from ctonnx.system.files import atomic_file, made_folders
    from ctonnx.system.temporary_files import remove_leftovers

    remove_leftovers([Path(os.path.realpath(output)).parent], lambda line: click.echo(line, err=True))
    # A file name may hold bytes that are no text: they are written escaped, as on stdout.
    with (
        made_folders(output.parent),
        atomic_file(output) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        yield lambda row: print(row, file=file)


def _show(row: str) -> None:
    try:
        click.echo(row, color=True)  # as it is: a name may hold what steers a terminal, and is data to a program
    except OSError as error:
        if error.errno != errno.EPIPE and error.filename is None:
            error.filename = "standard output"
        raise


def _drawing(
    folder: Path | None, files: Sequence[str], spec: "ModelSpec", *, suspicious_only: bool
) -> AbstractContextManager["HeatmapFolder | None"]:
    """Returns what draws heatmaps while images are decoded."""
    if folder is None:
        return nullcontext()
    from ctonnx.prediction.output.heatmap_folder import HeatmapFolder
    from ctonnx.system.temporary_files import remove_leftovers

    remove_leftovers((Path(inner) for inner, *_ in os.walk(folder)), lambda line: click.echo(line, err=True))
    return HeatmapFolder(folder, files, spec, suspicious_only=suspicious_only)


@contextmanager
def _progress(count: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Yields what moves a bar by a number of files, on a terminal that no rows go to meanwhile."""
    if not (shown and sys.stderr.isatty()):
        yield lambda steps: None
        return
    start, done = time.perf_counter(), 0

    def rate(_: object) -> str:
        return f"{done / (time.perf_counter() - start):.1f} images/s"

    with click.progressbar(
        length=count, label="predicting", show_pos=True, item_show_func=rate, file=sys.stderr
    ) as bar:

        def step(files: int) -> None:
            nonlocal done
            done += files
            bar.update(files)

        yield step
