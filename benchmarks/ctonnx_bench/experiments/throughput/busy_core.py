"""Slowdown of training and export while another process keeps a core busy.

    python -m ctonnx_bench.experiments.throughput.busy_core DATA [--rounds N] [--epochs N] [--anywhere]
    python -m ctonnx_bench.experiments.throughput.busy_core DATA --export RUN [--precision fp32,fp16]

Each measurement is a separate process, which starts as `ctonnx train` does. The processes run in turn, on an idle
machine and while another process runs an endless loop: on one core, or on any core (`--anywhere`). Of two cores, that
process takes its fair half of one, so an epoch takes at least 4/3 of the time. The command prints medians, and the
median of the rounds' ratios. The exit code is 1 if the ratio is above `--at-most`.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click

from ctonnx.cli.options import threads_option
from ctonnx_bench.measurement.child import child_option, measure_in_child
from ctonnx_bench.measurement.interleaving import measure_in_turn, paired_ratio

__all__ = ["AT_MOST", "busy_core", "main", "measure_export", "measure_training"]

AT_MOST = 2.5
"""Maximum factor of an epoch's time while one of two cores is busy."""

_LOOP = "while True: pass"
_STATES = ("idle", "one core busy")


@contextmanager
def busy_core(*, anywhere: bool) -> Iterator[None]:
    """Keeps the last available core, or any core, busy within the block, with a process that is killed at its end."""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", _LOOP])
    try:
        if not anywhere and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
        yield
    finally:
        process.kill()
        process.wait()


def measure_training(
    data: Path, image_size: int, batch_size: int, epochs: int, threads: int | None, asleep: bool
) -> float:
    """Returns the median seconds of an epoch of the recipe from scratch, without the first epoch, which allocates.

    Waiting threads are `asleep` if OpenMP is set up as `ctonnx train` does; otherwise OpenMP's defaults apply.
    """
    if asleep:
        from ctonnx_train.network.openmp import load_pytorch

        load_pytorch(threads=threads)
    from ctonnx.images import Preprocessing
    from ctonnx_train.training.recipe import TrainSettings
    from ctonnx_train.training.train import train

    settings = TrainSettings(
        weights="none", epochs=epochs, batch_size=batch_size, full_size=True, threads=threads, sensitivity=0.95
    )
    with tempfile.TemporaryDirectory(prefix="ctonnx-bench-") as folder:
        trained = train(
            data, settings=settings, preprocessing=Preprocessing(size=image_size), name="run", root=Path(folder)
        )
        lines = trained.run.metrics_file.read_text(encoding="utf-8").splitlines()
    column = lines[0].split(",").index("seconds")
    return statistics.median(float(line.split(",")[column]) for line in lines[2:])


def measure_export(run: Path, precisions: str, threads: int | None, asleep: bool) -> float:
    """Returns the seconds of an export, without the imports; for `asleep` see `measure_training`."""
    if asleep:
        from ctonnx_train.network.openmp import use_passive_waiting

        use_passive_waiting()
    from ctonnx.artifacts.report_schema import PRECISIONS
    from ctonnx.artifacts.run import find_run
    from ctonnx_export.export import export_run

    chosen = [name for name in PRECISIONS if name in precisions.split(",")]
    with tempfile.TemporaryDirectory(prefix="ctonnx-bench-") as folder:
        start = time.perf_counter()
        export_run(find_run(run), precisions=chosen, output=Path(folder) / "export", threads=threads)
        return time.perf_counter() - start


def _measure(task: str, path: str, *settings: int | str | bool | None) -> float:
    measures = {"training": measure_training, "export": measure_export}
    return float(measures[task](Path(path), *settings))  # type: ignore[operator]  # each has its own settings


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--image-size", type=click.IntRange(32), default=112, show_default=True, help="Image size in pixels.")
@click.option("--batch-size", type=click.IntRange(2), default=16, show_default=True, help="Images per step.")
@click.option("--epochs", type=click.IntRange(2), default=4, show_default=True, help="Number of epochs per training.")
@click.option("--rounds", type=click.IntRange(1), default=2, show_default=True, help="Number of processes per state.")
@click.option("--export", "run", type=click.Path(path_type=Path), metavar="RUN", help="Time an export of RUN instead.")
@click.option("--precision", default="fp32", show_default=True, help="Precisions to export, joined by commas.")
@click.option("--anywhere", is_flag=True, help="Let the system move the busy process between cores.")
@click.option("--openmp-default", is_flag=True, help="Use OpenMP's defaults for waiting threads.")
@click.option("--at-most", type=float, default=AT_MOST, show_default=True, help="Maximum ratio; more is exit code 1.")
@threads_option
@child_option(_measure)
def main(
    data: Path,
    image_size: int,
    batch_size: int,
    epochs: int,
    rounds: int,
    run: Path | None,
    precision: str,
    anywhere: bool,
    openmp_default: bool,
    at_most: float,
    threads: int | None,
) -> None:
    """Time epochs of training on DATA on an idle machine and with a busy core, in turn."""
    asleep = not openmp_default
    settings = (
        ("training", data, image_size, batch_size, epochs, threads, asleep)
        if run is None
        else ("export", run, precision, threads, asleep)
    )

    def time_in(state: str) -> float:
        with nullcontext() if state == _STATES[0] else busy_core(anywhere=anywhere):
            return float(measure_in_child("ctonnx_bench.experiments.throughput.busy_core", *settings))

    found = measure_in_turn(_STATES, rounds, time_in)
    epoch, export = f"an epoch at {image_size} pixels, batch {batch_size}", f"an export of {run} ({precision})"
    waits = "threads as in the command" if asleep else "threads with OpenMP's defaults"
    click.echo(f"seconds of {epoch if run is None else export}; {waits}; medians of {rounds} processes each, in turn")
    for state, samples in found.items():
        ratio = paired_ratio(samples, found[_STATES[0]])
        middle, least, most = statistics.median(samples), min(samples), max(samples)
        click.echo(f"{state:13} {middle:7.2f} ({least:.2f} to {most:.2f})  {ratio:.2f} times")
    ratio = paired_ratio(found[_STATES[1]], found[_STATES[0]])
    if ratio > at_most:
        raise click.ClickException(f"expected at most {at_most:g} times as long with one core busy, found {ratio:.2f}")


if __name__ == "__main__":
    main()
