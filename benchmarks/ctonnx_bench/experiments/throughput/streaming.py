"""Throughput of `Predictor` on a folder, by number of workers and batch size.

    python -m ctonnx_bench.experiments.throughput.streaming MODEL DIR [--rounds 5] [--batch-size N]... [--heatmaps]

Each case runs in separate processes, in turn. The defaults of `Predictor` are based on it. With --heatmaps each case
runs with and without drawing a heatmap of every image, and the cost of a heatmap is the difference in the same round.
"""

import os
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import click

from ctonnx.errors import CtonnxError
from ctonnx.prediction.inputs import find_images
from ctonnx.prediction.output.heatmap_folder import HeatmapFolder
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.streaming import workers_for
from ctonnx.system.cpu import available_cores
from ctonnx_bench.measurement.child import child_option, measure_in_child
from ctonnx_bench.measurement.interleaving import measure_in_turn

__all__ = ["main", "measure"]


def measure(model: Path | str, folder: Path | str, workers: int, batch_size: int, heatmaps: bool = False) -> float:
    """Returns the images per second on a folder, without loading the model; heatmaps go to a temporary folder."""
    files = find_images([os.fspath(folder)])
    with (
        Predictor(model, workers=workers) as predictor,
        tempfile.TemporaryDirectory(prefix="ctonnx-streaming-") as name,
    ):
        predictor.predict(files[0])
        start = time.perf_counter()
        with HeatmapFolder(Path(name), files, predictor.spec) if heatmaps else nullcontext() as pictures:
            for _ in predictor.predict_many(files, batch_size=batch_size, watch=pictures.watch if pictures else None):
                pass
        seconds = time.perf_counter() - start
        if pictures is not None and pictures.failures:
            raise CtonnxError(f"expected a heatmap of each image, found that one failed: {pictures.failures[0][1]}")
        return len(files) / seconds


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--batch-size", "batch_sizes", type=click.IntRange(1), multiple=True, default=(1, 2, 4, 8), show_default=True
)
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Number of processes for each case."
)
@click.option("--heatmaps", is_flag=True, help="Also measure each case with a heatmap drawn of every image.")
@child_option(measure)
def main(model: Path, folder: Path, batch_sizes: tuple[int, ...], rounds: int, heatmaps: bool) -> None:
    """Predict the images of DIR with MODEL, with one worker on all cores and with a worker per core."""
    cores = available_cores()
    cases = [
        (workers, size, drawn)
        for workers in sorted({1, workers_for(10**6)})
        for size in batch_sizes
        for drawn in ([False, True] if heatmaps else [False])
    ]
    module = "ctonnx_bench.experiments.throughput.streaming"
    found = measure_in_turn(cases, rounds, lambda case: float(measure_in_child(module, model, folder, *case)))
    click.echo(f"{model.name} on {cores} cores: images per second, medians of {rounds} processes each, in turn")
    for (workers, size, drawn), rates in found.items():
        threads = max(1, cores // workers)
        line = (
            f"{workers:2} workers of {threads:2} threads, batch {size:2}  {statistics.median(rates):7.1f} "
            f"({min(rates):.1f} to {max(rates):.1f})"
        )
        if drawn:
            plain = found[workers, size, False]
            costs = [1e3 / slow - 1e3 / fast for slow, fast in zip(rates, plain, strict=True)]
            line += (
                f", with heatmaps: {1e3 / statistics.median(rates):.0f} instead of "
                f"{1e3 / statistics.median(plain):.0f} ms per image, "
                f"a heatmap costs {statistics.median(costs):.0f} ms ({min(costs):.0f} to {max(costs):.0f})"
            )
        click.echo(line)


if __name__ == "__main__":
    main()
