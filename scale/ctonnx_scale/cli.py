"""`ctonnx predict --engine ray`: the options of the command, the engine, and its summary."""

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from ctonnx.cli.model_banner import show_model
from ctonnx.cli.prediction.stdin_names import names_on_stdin
from ctonnx.errors import CtonnxError
from ctonnx.system.text import counted

if TYPE_CHECKING:
    from ctonnx.artifacts.spec import ModelSpec
    from ctonnx.inference.providers import Provider
    from ctonnx.prediction.output.batch import BatchResult
    from ctonnx_scale.engine import EngineResult

__all__ = ["predict_on_ray"]

_ALLOWED = (
    *("paths", "model", "output", "provider", "batch_size", "threads", "check", "null"),
    *("engine", "actors", "actor_gpus", "resume", "trust"),
)
_LINE_SECONDS = 60.0  # between two lines about the progress where there is no terminal


class _Model(NamedTuple):
    """A model that is described, and not opened here."""

    path: Path
    spec: "ModelSpec"
    provider: str
    signed_by: str | None = None
    refusal: str | None = None


def predict_on_ray(
    context: click.Context,
    *,
    summarize: Callable[[int, "BatchResult", "ModelSpec"], None],
    progress: Callable[..., AbstractContextManager[Callable[[int], None]]],
) -> None:
    """Runs `ctonnx predict --engine ray`.

    Args:
        context: Context of the command with its options.
        summarize: Prints the numbers of a run.
        progress: Opens a progress bar for a number of files.

    Raises:
        click.UsageError: If an option does not go with `--engine ray`.
        CtonnxError: If the extra is missing, the folder has parts already, or the cluster cannot be used.
    """
    options = context.params
    _check_options(context)
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        raise CtonnxError(
            'expected Ray and pyarrow for --engine ray, found neither or one; pip install "ctonnx[scale]"'
        )
    from ctonnx.artifacts.provenance.trust import read_signed
    from ctonnx.inference.session import open_session, read_spec
    from ctonnx.prediction.model_selection import find_model
    from ctonnx.prediction.output.batch import BatchResult
    from ctonnx.system.files import sha256_of
    from ctonnx_scale.cluster import ActorResources, connected
    from ctonnx_scale.parts import Parts
    from ctonnx_scale.storage import find_files

    log = partial(click.echo, err=True)
    provider: Provider = options["provider"]
    model = find_model(options["model"], provider=provider)
    content, signed_by = None, None
    if options["trust"]:
        content, signed = read_signed(model, options["trust"])
        signed_by = signed.key
    spec = read_spec(
        open_session(model, content=content, threads=1, optimize=False, check=options["check"]), str(model)
    )
    show_model(_Model(model, spec, provider, signed_by), newest=options["model"] is None)
    paths = options["paths"]
    files = names_on_stdin(paths, null=options["null"]) if "-" in paths or options["null"] else find_files(paths, log)
    parts = Parts(options["output"], sha256_of(content or model), resume=options["resume"], log=log)
    resources = ActorResources(
        cpus=options["threads"] or 1, gpus=_gpus(options["actor_gpus"], provider), actors=options["actors"]
    )
    from ctonnx_scale.actor import PredictorSettings
    from ctonnx_scale.names import left_of, names_of

    names = names_of(files)
    if len(names) < len(files):
        log(f"note: {counted(len(files) - len(names), 'file')} named more than once, and predicted once")
    left = left_of(names, parts)
    if parts.files:
        log(f"resuming: {counted(len(names) - len(left), 'file')} of {len(names)} in '{parts.folder}' already")
    count = len(left)
    if not count:
        log(f"nothing to predict: all {counted(len(names), 'file')} in '{parts.folder}' already")
        return
    del files, names
    settings = PredictorSettings(
        provider=provider,
        threads=resources.cpus,
        batch_size=options["batch_size"],
        check=options["check"],
        folder=str(Path.cwd()),
        threshold=spec.operating_point.threshold if spec.operating_point else None,
        time=datetime.now(UTC),
    )
    start = time.monotonic()
    with connected(resources, log) as actors:
        from ctonnx_scale.engine import predict_on_cluster

        ready = time.monotonic()
        log(f"ray: {counted(actors, 'actor')} of {counted(resources.cpus, 'CPU')}{_with_gpus(resources.gpus)}")
        with progress(count, shown=True) as step:
            result = predict_on_cluster(
                model,
                left,
                parts,
                settings,
                resources,
                signed=content,
                actors=actors,
                progress=_lines(step, count, log),
            )
    summarize(
        count,
        BatchResult(
            predicted=result.predicted,
            decisions=result.decisions,  # type: ignore[arg-type]  # names of decisions, from the rows
            failed=result.failed,
            undrawn=[],
            seconds=result.seconds,
        ),
        spec,
    )
    log(f"start: {ready - start + result.start:.1f} s until the first image{_faults(result)}")
    log(f"written: {counted(len(parts.files), 'part')} in {parts.folder}")
    if result.failed:
        context.exit(1)


def _check_options(context: click.Context) -> None:
    """Raises an error for options that only the local engine has, and for missing ones."""
    if context.params["output"] is None:
        raise click.UsageError("expected --output with --engine ray: a folder for Parquet files")
    if context.params["provider"] == "auto":
        raise click.UsageError("expected a provider by name with --engine ray, found auto: nodes may differ")
    for parameter in context.command.params:
        name = parameter.name or ""
        if name not in _ALLOWED and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"expected --engine ray without {parameter.opts[0]}, which only --engine local has")
    if not context.params["paths"] and not context.params["null"]:
        raise click.UsageError("Missing argument 'PATH...'.")
    output: Path = context.params["output"]
    if output.exists() and not output.is_dir():
        raise click.UsageError(f"expected a folder for --output with --engine ray, found the file '{output}'")


def _gpus(asked: float | None, provider: "Provider") -> float:
    if asked is not None:
        return asked
    return 1.0 if provider in ("cuda", "tensorrt", "tensorrt-rtx") else 0.0


def _with_gpus(gpus: float) -> str:
    return f" and {gpus:g} GPUs each" if gpus else " each"


def _lines(step: Callable[[int], None], count: int, log: Callable[[str], object]) -> Callable[[int], None]:
    """Returns a function that advances the bar, and logs a line each minute where there is no terminal."""
    done, start = 0, time.monotonic()
    last = start
    is_shown = sys.stderr.isatty()

    def advance(files: int) -> None:
        nonlocal done, last
        done += files
        step(files)
        if not is_shown and (now := time.monotonic()) - last >= _LINE_SECONDS:
            last = now
            log(f"predicted: {done} of {count} files, {done / (now - start):.1f} files/s")

    return advance


def _faults(result: "EngineResult") -> str:
    """Returns what went wrong and was repaired, for the summary."""
    report = result.report
    found = [
        (result.ended, "process ended and was replaced", "processes ended and were replaced"),
        (report.repeated, "batch repeated", "batches repeated"),
        (report.unread, "file read again", "files read again"),
        (report.given_up, "file given up", "files given up"),
    ]
    named = [f"{count} {one if count == 1 else many}" for count, one, many in found if count]
    return f"; {', '.join(named)}" if named else ""
