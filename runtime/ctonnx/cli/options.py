"""Options that several commands share, and the type of their numbers."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ctonnx.inference.providers import PROVIDERS
from ctonnx.system.cpu import check_threads

if TYPE_CHECKING:
    from ctonnx.server.monitoring.usage_log import UsageLog
    from ctonnx.server.pacs.results.document import ObjectKind

__all__ = [
    "FiniteRange",
    "automatic_provider_option",
    "codes_option",
    "engine_options",
    "fallback_option",
    "json_option",
    "model_option",
    "opened_usage_log",
    "provider_option",
    "results_option",
    "threads_option",
    "trust_option",
    "usage_log_option",
]


class FiniteRange(click.FloatRange):
    """A range of finite numbers: inf is rejected, and nan, which passes every comparison of `click.FloatRange`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"expected a finite number, found {number}.", param, ctx)
        return number


model_option = click.option(
    "--model",
    "-m",
    type=click.Path(path_type=Path),
    help="An .onnx file or a run; default: the newest run with an export.",
)
"""`--model`; without it, the command reports which one it takes, and any newer run without an export."""

provider_option = click.option(
    "--provider",
    type=click.Choice(list(PROVIDERS)),
    default="cpu",
    show_default=True,
    help="Execution provider. If it does not run here, the command exits with code 2 and prints how to fix it.",
)
"""`--provider`, never replaced by the CPU without `--fallback`."""

automatic_provider_option = click.option(
    "--provider",
    type=click.Choice([*PROVIDERS, "auto"]),
    default="cpu",
    show_default=True,
    help="Execution provider. If it does not run here, the command exits with code 2 and prints how to fix it. auto "
    "takes the fastest one of those that are installed and pass ctonnx verify: measured once for a model and device "
    "(at most minutes for each), and kept next to the model.",
)
"""`--provider` with `auto`, of commands that predict; see `ctonnx.cli.model_banner.chosen_provider`."""

fallback_option = click.option(
    "--fallback", is_flag=True, help="Run on the CPU, with a note, if the provider does not run here."
)
"""`--fallback`, of commands that predict."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
"""`--json`, of commands that print a table."""


def _threads(ctx: click.Context, parameter: click.Parameter, value: int | None) -> int | None:
    try:
        check_threads(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", ctx, parameter) from error
    return value


threads_option = click.option(
    "--threads",
    type=click.IntRange(1),
    callback=_threads,
    help="Number of threads; default: all cores available to this process.",
)
"""`--threads`, at most the machine's cores or 64, whichever is more; of commands that run or make a model."""


trust_option = click.option(
    "--trust",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    metavar="PUBLIC_KEY",
    help="PEM file of the public key that must have signed the model's folder (ctonnx sign); repeat it to accept "
    "several keys. A model that is not signed, or not as it was signed, is not opened. Needs the extra sign.",
)
"""`--trust`, of commands that open a model which may come from others."""


def _kinds(ctx: click.Context, parameter: click.Parameter, value: str | None) -> "tuple[ObjectKind, ...] | None":
    if value is None:
        return None
    named = [name.strip().lower() for name in value.split(",")]
    if named == ["none"]:
        return ()
    chosen: tuple[ObjectKind, ...] = tuple(kind for kind in ("sr", "sc") if kind in named)
    if len(chosen) != len(named):
        raise click.BadParameter(f"expected sr, sc, sr,sc or none, found '{value}'.", ctx, parameter)
    return chosen


results_option = click.option(
    "--results",
    metavar="sr,sc|none",
    callback=_kinds,
    help="Kinds of DICOM objects: a structured report (sr), a Secondary Capture of the decisive slice with its heatmap "
    "(sc), or none; with any of them, a positive series has a Key Object Selection.  [default: sr,sc]",
)
"""`--results`, of commands that make DICOM objects."""

codes_option = click.option(
    "--codes",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="CSV file with the columns class, scheme, value and meaning: codes of the classes in DICOM objects, such as "
    "SNOMED CT's (scheme SCT); other classes have a code of the private scheme 99CTONNX.",
)
"""`--codes`, of commands that make DICOM objects."""


def engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds `--engine` and the options of `--engine ray` (`ctonnx_scale.cli`) to a command."""
    for option in (
        click.option(
            "--actor-gpus",
            type=FiniteRange(0),
            metavar="NUMBER",
            help="GPUs of each actor of --engine ray; a fraction shares one.  [default: 1 with --provider cuda, "
            "tensorrt or tensorrt-rtx, else 0]",
        ),
        click.option(
            "--actors",
            type=click.IntRange(1),
            help="Number of processes with a model, with --engine ray, of --threads CPUs each (default: 1 CPU).  "
            "[default: as many as the cluster has CPUs or GPUs for]",
        ),
        click.option(
            "--engine",
            type=click.Choice(["local", "ray"]),
            default="local",
            help="Engine: local predicts in this process, ray with a pool of processes on this machine, or on the "
            "cluster of RAY_ADDRESS; PATH may be a file or folder at s3://, gs://, hdfs:// or abfs://, and --output is "
            "a folder of Parquet files. Needs the extra scale.",
        ),
    ):
        command = option(command)
    return command


usage_log_option = click.option(
    "--usage-log",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="SQLite file for counts of what is predicted, by day, with nothing of a patient; for ctonnx drift.",
)
"""`--usage-log`; see `opened_usage_log`."""


def opened_usage_log(file: Path, sha256: str) -> "UsageLog":
    """Returns the usage log for the model with a SHA-256, whose failures are reported on stderr.

    Raises:
        CtonnxError: If the file is not a usage log, or cannot be made.
    """
    from ctonnx.server.monitoring.usage_log import UsageLog

    return UsageLog(file, sha256, lambda line: click.echo(f"warning: {line}", err=True))
