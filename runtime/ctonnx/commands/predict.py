"""`ctonnx predict`: classify images with an exported model."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ctonnx.session import Provider

__all__ = ["predict"]


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--model", "-m", type=click.Path(path_type=Path), help="An .onnx file or a run; default: the newest run.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "jsonl", "csv"]),
    default="table",
    show_default=True,
    help="A table for people; JSON lines or CSV for programs.",
)
@click.option("--top-k", type=click.IntRange(1), default=1, show_default=True, help="How many classes to show.")
@click.option(
    "--provider", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="What the model runs on."
)
@click.option(
    "--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Images for the model at a time."
)
@click.option("--threads", type=click.IntRange(1), help="For the model; default: every core this process may use.")
def predict(
    paths: tuple[str, ...],
    model: Path | None,
    output_format: str,
    top_k: int,
    provider: "Provider",
    batch_size: int,
    threads: int | None,
) -> None:
    """Classify images with an exported model.

    PATH is an image, a folder (read recursively) or a quoted glob. One row for each file goes to stdout; what cannot be
    read gets a row with its error, and the exit code is 1 at the end.

    \b
    Examples:
      ctonnx predict scans/
      ctonnx predict --top-k 3 --format csv "scans/**/*.png" > answers.csv
    """
    from ctonnx.formats import FORMATS
    from ctonnx.inputs import find_images
    from ctonnx.predictor import Failure, Predictor

    files = find_images(paths)
    predictor = Predictor(model, provider=provider, threads=threads)
    spec = predictor.spec
    choice = "" if model else ", the newest run's"
    click.echo(f"model: {predictor.path} ({spec.precision} on {predictor.provider}{choice})", err=True)
    if spec.synthetic:
        click.echo(
            "note: this model was trained on synthetic phantoms; its answers mean nothing for patients", err=True
        )
    head, line = FORMATS[output_format](files, spec, min(top_k, len(spec.classes)))
    if head:
        click.echo(head)
    failed, suspicious, start = 0, 0, time.perf_counter()
    for record in predictor.predict_many(files, batch_size=batch_size):
        failed += isinstance(record, Failure)
        suspicious += not isinstance(record, Failure) and bool(record.suspicious)
        click.echo(line(record))
    rate = len(files) / (time.perf_counter() - start)
    predicted = f"{len(files) - failed} predicted" + (f" ({suspicious} suspicious)" if spec.operating_point else "")
    named = "1 file" if len(files) == 1 else f"{len(files)} files"
    click.echo(f"{named}: {predicted}, {failed} failed; {rate:.1f} images/s", err=True)
    if point := spec.operating_point:
        click.echo(
            f"suspicious: {' + '.join(point.positive)} at {point.threshold:.3g} or more (sensitivity "
            f"{point.sensitivity:.3f}, specificity {point.specificity:.3f} on its validation images)",
            err=True,
        )
    if failed:
        click.get_current_context().exit(1)
