"""Which number of workers and which batch size go through a folder fastest on this machine.

    python -m ctonnx_bench.streaming MODEL DIR [--rounds 5] [--batch-size 1 --batch-size 4]

Each case runs in a process of its own, in turn. `Predictor`'s defaults were chosen by it.
"""

import os
import statistics
import time
from pathlib import Path

import click

from ctonnx.inputs import find_images
from ctonnx.machine import available_cores
from ctonnx.predictor import Predictor, workers_for
from ctonnx_bench.apart import child_option, measured_apart
from ctonnx_bench.turns import in_turn

__all__ = ["main", "measure"]


def measure(model: Path | str, folder: Path | str, workers: int, batch_size: int) -> float:
    """Returns the images of a folder that are answered in a second, once the model is loaded.

    Args:
        model: the `.onnx` file.
        folder: with images.
        workers: batches that the model computes at a time.
        batch_size: images in each.
    """
    files = find_images([os.fspath(folder)])
    with Predictor(model, workers=workers) as predictor:
        predictor.predict(files[0])
        start = time.perf_counter()
        for _ in predictor.predict_many(files, batch_size=batch_size):
            pass
        return len(files) / (time.perf_counter() - start)


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--batch-size", "batch_sizes", type=click.IntRange(1), multiple=True, default=(1, 2, 4, 8), show_default=True
)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Processes of each, in turn.")
@child_option(measure)
def main(model: Path, folder: Path, batch_sizes: tuple[int, ...], rounds: int) -> None:
    """Stream DIR through MODEL with one worker on all cores, and with a worker for each core."""
    cores = available_cores()
    cases = [(workers, size) for workers in sorted({1, workers_for(10**6)}) for size in batch_sizes]
    found: dict[tuple[int, int], list[float]] = {case: [] for case in cases}
    for case in in_turn(cases, rounds):
        found[case].append(measured_apart("ctonnx_bench.streaming", model, folder, *case))
    click.echo(f"{model.name} on {cores} cores: images a second, medians of {rounds} processes each, in turn")
    for (workers, size), rates in found.items():
        threads = max(1, cores // workers)
        click.echo(
            f"{workers:2} workers of {threads:2} threads, batch {size:2}  {statistics.median(rates):7.1f} "
            f"({min(rates):.1f} to {max(rates):.1f})"
        )


if __name__ == "__main__":
    main()
