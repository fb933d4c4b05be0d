"""`ctonnx predict`: classifies images with an exported model."""

import errno
import importlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ctonnx.cli.model_banner import chosen_provider, show_model
from ctonnx.cli.options import (
    automatic_provider_option,
    codes_option,
    engine_options,
    fallback_option,
    model_option,
    results_option,
    threads_option,
    trust_option,
)
from ctonnx.cli.prediction.dicom_results import dicom_output, study_address
from ctonnx.cli.prediction.group_prediction import predict_by, show_undrawn
from ctonnx.cli.prediction.parts import asked_part, merge_and_show, parts_options
from ctonnx.cli.prediction.stdin_names import names_on_stdin
from ctonnx.parity.rounding import exactly
from ctonnx.system.text import counted

if TYPE_CHECKING:
    from ctonnx.artifacts.spec import ModelSpec
    from ctonnx.inference.providers import Provider
    from ctonnx.prediction.output.batch import BatchResult
    from ctonnx.prediction.output.parts.split import Shard
    from ctonnx.prediction.series.grouping import GroupBy
    from ctonnx.server.pacs.results.document import ObjectKind

__all__ = ["predict"]

_FORMAT_OF = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def _batch_size(ctx: click.Context, parameter: click.Parameter, value: str) -> int | None:
    if value == "auto":
        return None
    number: int = click.IntRange(1)(value, parameter, ctx)
    return number


@click.command(context_settings={"show_default": True})
@click.argument("paths", metavar="PATH...", nargs=-1)
@model_option
@trust_option
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "jsonl", "csv"]),
    help="Table, JSON lines or CSV.  [default: table, or by --output's ending]",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="A .csv or .jsonl file for the rows, written completely or not at all, but row by row with --shard and "
    "--resume; its folder is created if missing. Default: stdout. With --engine ray, a folder.",
)
@click.option(
    "--heatmaps",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for a PNG per image: the scan, and the scan under the Grad-CAM heatmap of its predicted class. With "
    "--by, a PNG per group.",
)
@click.option(
    "--by",
    type=click.Choice(["series", "study", "patient", "folder"]),
    help="Print one row for each series, study or patient of DICOM files, or for each folder of any files: the "
    "decision from the scores of its slices, and the slices that carried it. Of a study or patient, one axial CT "
    "series is taken: the one with most slices, then the thinnest, then the first. Except by folder, localizers, "
    "slices of other planes and other modalities are left out.",
)
@click.option(
    "--series-filter",
    metavar="TEXT",
    help="Take only series whose reconstruction kernel or folder contains TEXT, or matches it if it has *, ? or [; "
    "with --by series, study or patient. By series, it also selects those of localizers and other planes.",
)
@click.option(
    "--dicom-out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for DICOM objects of each series, as a PACS shows them; implies --by series. Needs the extra pacs.",
)
@results_option
@codes_option
@click.option(
    "--dicomweb",
    metavar="URL",
    help="Retrieve the CT images of --study from a DICOMweb server, such as http://pacs:8042/dicom-web, instead of "
    "PATH; implies --by series. None is kept. Needs the extra pacs.",
)
@click.option("--study", metavar="UID", help="Study Instance UID, with --dicomweb.")
@click.option("--series", metavar="UID", help="Series Instance UID, with --dicomweb; default: all CT series.")
@click.option(
    "--token",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="File with the bearer token of --dicomweb.",
)
@click.option("--suspicious-only", is_flag=True, help="Show only images that are positive or referred, and failures.")
@click.option(
    "--sort",
    type=click.Choice(["score", "probability"]),
    help="Sort the rows in descending order, failures last, and print them at the end; default: in the order of the "
    "files, as they are predicted.",
)
@click.option("--top-k", type=click.IntRange(1), default=1, help="Number of classes per row.")
@automatic_provider_option
@fallback_option
@click.option(
    "--batch-size", metavar="auto|INTEGER", default="auto", callback=_batch_size, help="Number of images per batch."
)
@threads_option
@click.option("--tuned", is_flag=True, help="Use the best settings that ctonnx bench --sweep found on this device.")
@click.option("--check/--no-check", default=True, help="Compare the model file's checksum first, to detect damage.")
@parts_options
@engine_options
@click.option(
    "--null", "-0", is_flag=True, help="File names on stdin end with a NUL character, as find -print0 writes them."
)
def predict(
    paths: tuple[str, ...],
    model: Path | None,
    trust: tuple[Path, ...],
    output_format: str | None,
    output: Path | None,
    heatmaps: Path | None,
    by: "GroupBy | None",
    series_filter: str | None,
    dicom_out: Path | None,
    results: "tuple[ObjectKind, ...] | None",
    codes: Path | None,
    dicomweb: str | None,
    study: str | None,
    series: str | None,
    token: Path | None,
    suspicious_only: bool,
    sort: str | None,
    top_k: int,
    provider: "Provider | Literal['auto']",
    fallback: bool,
    batch_size: int | None,
    threads: int | None,
    tuned: bool,
    check: bool,
    shard: "Shard | None",
    resume: bool,
    merge: bool,
    started: datetime | None,
    engine: str,
    actors: int | None,
    actor_gpus: float | None,
    null: bool,
) -> None:
    """Classify images with an exported model.

    PATH is an image, a folder (read recursively), a quoted glob, or - for file names on stdin, one per line. Prints one
    row per image; a file that cannot be read gets a row with its error. Texts, tables and programs in a folder are
    skipped and counted. The exit code is 1 if a file cannot be read or a heatmap cannot be drawn. With --by, there is
    one row per group of slices, with a pseudonym that is new in each run instead of the identifier of the patient,
    study or series, and --heatmaps draws one picture per group: the score along the body with the strongest slices.
    --dicom-out writes a structured report and a Secondary Capture of each series, with the patient and the study of
    its files; the exit code is 1 if those of a series cannot be made. --dicomweb retrieves a study from a PACS, image
    by image; none stays on the disk. --shard and --resume are for runs on several machines, and runs that may be
    stopped: the rows are in a part, which --merge joins with the others.

    \b
    Examples:
      ctonnx predict scans/
      ctonnx predict --top-k 3 --output predictions.csv "scans/**/*.png"
      ctonnx predict --suspicious-only --sort score --heatmaps maps scans/
      ctonnx predict --by patient --series-filter lung --output patients.csv export/
      ctonnx predict --dicom-out results --codes codes.csv series/
      ctonnx predict --dicomweb http://pacs:8042/dicom-web --study 1.2.3 --dicom-out results
      find /share -name "*.dcm" -print0 | ctonnx predict -0 - --output predictions.jsonl
      ctonnx predict --provider auto scans/
      ctonnx predict --model lungs-model --trust maker.pub scans/
      ctonnx predict --shard 3/16 --resume --output parts/3.jsonl scans/
      ctonnx predict --merge --output predictions.jsonl parts/*.jsonl
      ctonnx predict --engine ray --actors 8 --output rows s3://archive/ct/
    """
    if engine == "ray":
        on_ray = importlib.import_module("ctonnx_scale.cli").predict_on_ray  # it imports this package
        on_ray(click.get_current_context(), summarize=_summarize, progress=_progress)
        return
    for option, asked in (("--actors", actors), ("--actor-gpus", actor_gpus)):
        if asked is not None:
            raise click.UsageError(f"expected {option} with --engine ray, found --engine local")
    if output is not None and output.is_dir():
        raise click.UsageError(f"expected a file for --output, found the folder '{output}'")
    from ctonnx.prediction.inputs import find_images, without_outputs
    from ctonnx.prediction.output.batch import OutputSettings, predict_files
    from ctonnx.prediction.predictor import Predictor
    from ctonnx.prediction.streaming import workers_for

    if merge:
        merge_and_show(paths, output, output_format, print_row=_print_row, progress=_progress)
        return
    log = partial(click.echo, err=True)
    row_format = _row_format(output_format, output)
    dicom = dicom_output(dicom_out, results, codes, by)
    address = study_address(dicomweb, study, series, token, paths=paths, by=by, null=null)
    if dicom is not None or (address is not None and by is None):
        by = "series"
    if series_filter is not None and by in (None, "folder"):
        raise click.UsageError("expected --series-filter with --by series, study or patient; for folders, name them")
    part = asked_part(
        *(shard, resume),
        output=output,
        row_format=row_format,
        by=by,
        sort=sort,
        suspicious_only=suspicious_only,
        heatmaps=heatmaps,
        dicom_out=dicom_out,
        dicomweb=dicomweb,
    )
    _check_folder("--heatmaps", heatmaps, paths)
    _check_folder("--dicom-out", dicom_out, paths)
    if tuned and (threads is not None or batch_size is not None or fallback):
        raise click.UsageError("expected --tuned without --threads, --batch-size and --fallback: it sets them")
    if tuned and trust:
        raise click.UsageError("expected --tuned without --trust: no signature covers the file with its settings")
    source, split = None, None
    if address is None:
        found = names_on_stdin(paths, null=null) if "-" in paths or null else find_images(paths, log)
        files = without_outputs(found, output=output, heatmaps=heatmaps)
        if part is not None:
            split = part.files_of(files, [path for path in paths if path != "-"])
            files = split.files
        provider = chosen_provider(provider, model, threads, trust=trust)
    else:
        from ctonnx.inference.session import check_model_file
        from ctonnx.prediction.model_selection import find_models
        from ctonnx.server.pacs.retrieval import retrieved_study

        check_model_file(find_models(model)[0])  # before the PACS is asked
        if trust:
            from ctonnx.artifacts.provenance.trust import check_signature

            check_signature(find_models(model)[0].resolve().parent, trust)
        provider = chosen_provider(provider, model, threads, trust=trust)
        source = click.get_current_context().with_resource(retrieved_study(address, log))
        files = list(source.files)
    newest = model is None
    workers = workers_for(len(files), threads=threads)
    spinning = True
    if tuned:
        from ctonnx.inference.tuning import read_tuning
        from ctonnx.prediction.model_selection import find_model

        model = find_model(model, provider=provider)
        setting = read_tuning(model, provider=provider).best_for(len(files))
        click.echo(f"tuned: {setting.summary}", err=True)
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
        trust=trust,
    )
    spec = predictor.spec
    show_model(predictor, newest=newest)
    for option, asked in (("--suspicious-only", suspicious_only), ("--sort score", sort == "score")):
        if asked and spec.operating_point is None:
            raise click.UsageError(
                f"expected a model with an operating point for {option}, found none in '{predictor.path}'; train it on "
                "images of suspicious and other classes"
            )
    settings = OutputSettings(
        row_format=row_format,
        top_k=top_k,
        sort=sort,
        suspicious_only=suspicious_only,
        batch_size=batch_size,
        output=output,
        heatmaps=heatmaps,
        print_row=_print_row,
        time=started,
        log=log,
    )
    rows = nullcontext((files, settings)) if part is None or split is None else part.opened(predictor, split, settings)
    with rows as (files, settings):
        if by is not None:
            done = predict_by(
                predictor,
                files,
                by,
                settings,
                series_filter=series_filter,
                dicom=dicom,
                progress=_progress,
                source=source,
            )
        else:
            is_elsewhere = bool(output or sort) or not sys.stdout.isatty()
            result = predict_files(predictor, files, settings, progress=_progress(len(files), shown=is_elsewhere))
            show_undrawn(result.undrawn)
            _summarize(len(files), result, spec)
            if output is not None:
                click.echo(f"written: {output}", err=True)
            done = not (result.failed or result.undrawn)
    if not done:
        click.get_current_context().exit(1)


def _row_format(chosen: str | None, output: Path | None) -> str:
    """Returns the chosen format, or the one of the output's ending."""
    if output is None:
        return chosen or "table"
    named = _FORMAT_OF.get(output.suffix.lower())
    if chosen == "table" or (named is None and chosen is None) or (chosen and named and chosen != named):
        raise click.UsageError(
            f"expected --output to end in .csv or .jsonl, as its --format, found '{output}'"
            + (f" with --format {chosen}" if chosen else "")
        )
    return chosen or named or "csv"


def _check_folder(option: str, folder: Path | None, paths: Sequence[str]) -> None:
    """Raises an error if an option's files would be among the scans, as the next run would read them as scans."""
    for path in paths:
        if folder and Path(path).is_dir() and folder.resolve().is_relative_to(Path(path).resolve()):
            raise click.UsageError(
                f"expected a folder for {option} outside of '{path}', as its files are read, found '{folder}'"
            )


def _summarize(files: int, result: "BatchResult", spec: "ModelSpec") -> None:
    from ctonnx.artifacts.spec import fitted_on

    counts = ", ".join(f"{count} {name}" for name, count in result.decisions.items()) if spec.operating_point else ""
    predicted = f"{result.predicted} predicted" + (f" ({counts})" if counts else "")
    named, images, undrawn = counted(files, "file"), result.predicted + result.failed, len(result.undrawn)
    if images != files:  # each frame of a file is an image
        named += f", {counted(images, 'image')}"
    without = f", {undrawn} without {'its heatmap' if undrawn == 1 else 'their heatmaps'}" if undrawn else ""
    rate = f"; {result.predicted / result.seconds:.1f} images/s" if result.predicted else ""
    click.echo(f"{named}: {predicted}, {result.failed} failed{without}{rate}", err=True)
    if point := spec.operating_point:
        threshold = exactly(point.threshold, digits=6, form="f")  # as many digits as the scores in the rows
        click.echo(
            f"positive: {' + '.join(point.positive)} at {threshold} or more ({point.metrics_text} on the "
            f"{fitted_on(spec.history)})",
            err=True,
        )


def _print_row(row: str) -> None:
    try:
        click.echo(row, color=True)  # unchanged: control characters in a file name are data to a program
    except OSError as error:
        if error.errno != errno.EPIPE and error.filename is None:
            error.filename = "standard output"
        raise


@contextmanager
def _progress(
    count: int, *, shown: bool, label: str = "predicting", unit: str = "images"
) -> Iterator[Callable[[int], None]]:
    """Yields a function that advances a progress bar by a number of files; without a terminal it does nothing."""
    if not (shown and sys.stderr.isatty()):
        yield lambda steps: None
        return
    start = time.perf_counter()
    bar = click.progressbar(length=count, label=label, show_pos=True, file=sys.stderr)
    bar.item_show_func = lambda _: f"{bar.pos / (time.perf_counter() - start):.1f} {unit}/s"
    with bar:
        yield bar.update
