"""Effect of spinning threads on another session: the reason for separate processes in `ctonnx bench`.

    python -m ctonnx_bench.experiments.overheads.thread_spinning [MODEL] [--rounds 5] [--runs 50]

onnxruntime's threads keep spinning for a while after a run. If two sessions in one process run in turn, the threads of
one still spin while the other computes. The same session is timed alone and next to another session that runs in
between, with spinning threads and with threads that soon sleep, each in a separate process.
"""

import statistics
from pathlib import Path

import click
import numpy as np

from ctonnx.prediction.predictor import Predictor
from ctonnx_bench.measurement.child import child_option, measure_in_child
from ctonnx_bench.measurement.interleaving import measure_in_turn, paired_ratio
from ctonnx_bench.measurement.worker import timed_loop

__all__ = ["CASES", "main", "median_seconds"]

CASES = {
    "alone": (1, True),
    "two in one process, in turn": (2, True),
    "two in one process, brief spinning": (2, False),
    "alone, brief spinning": (1, False),
}
"""Number of sessions in the process, and whether their threads spin."""

_WARM_UP = 5


def median_seconds(model: Path | str, sessions: int, spinning: bool, runs: int) -> float:
    """Returns the median seconds of the first session's runs; between them each other session runs once."""
    first, *others = (Predictor(model, spinning=spinning) for _ in range(sessions))
    size = first.spec.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)

    def run_others(number: int, outputs: object) -> None:
        for other in others:
            other.predict_pixels(pixels)

    samples = timed_loop(first.predict_pixels, [pixels], 0, run_others, runs + _WARM_UP)
    return statistics.median(samples[_WARM_UP:])


@click.command()
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Number of processes for each case."
)
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True, help="Number of runs in each process.")
@child_option(median_seconds)
def main(model: Path | None, rounds: int, runs: int) -> None:
    """Time MODEL (default: the newest run's) alone and next to another session in its process."""
    with Predictor(model) as predictor:
        path, threads = predictor.path, predictor.threads
    module = "ctonnx_bench.experiments.overheads.thread_spinning"
    found = measure_in_turn(CASES, rounds, lambda name: measure_in_child(module, path, *CASES[name], runs) * 1e3)
    click.echo(f"{path}, batch 1, {threads} threads: milliseconds, medians of {rounds} processes each, in turn")
    for name, samples in found.items():
        ratio = paired_ratio(samples, found["alone"])
        click.echo(
            f"{name:40} {statistics.median(samples):8.2f} ({min(samples):.2f} to {max(samples):.2f})  {ratio:.2f} times"
        )


if __name__ == "__main__":
    main()
