"""Speed of FP16 and INT8 compared with FP32 on this machine, in separate processes in turn.

    python -m ctonnx_bench.experiments.throughput.precisions [EXPORT] [--batch-size N]... [--rounds 5] [--seconds 3]

onnxruntime's threads keep spinning for a while after a run and would slow down a second session in the same process.
"""

import statistics
from pathlib import Path

import click
import numpy as np

from ctonnx.cli.options import FiniteRange
from ctonnx.prediction.model_selection import newest_export
from ctonnx.prediction.predictor import Predictor
from ctonnx_bench.measurement.child import child_option, measure_in_child
from ctonnx_bench.measurement.interleaving import measure_in_turn, paired_ratio
from ctonnx_bench.measurement.worker import timed_loop

__all__ = ["main", "measure", "time_model"]

_PRECISIONS = ("fp32", "fp16", "int8")
_WARM_UP = 10


def time_model(model: Path | str, batch_size: int, seconds: float) -> float:
    """Returns the median milliseconds per image, after a warm-up."""
    with Predictor(model) as predictor:
        size = predictor.spec.preprocessing.size
        pixels = np.random.default_rng(0).integers(0, 256, (batch_size, size, size, 3), np.uint8)
        timed_loop(predictor.predict_pixels, [pixels], 0, least=_WARM_UP)
        samples = timed_loop(predictor.predict_pixels, [pixels], seconds)
    return statistics.median(samples) * 1e3 / batch_size


def measure(model: Path, batch_size: int, seconds: float) -> float:
    """Returns the result of `time_model` in a new process."""
    return float(measure_in_child("ctonnx_bench.experiments.throughput.precisions", model, batch_size, seconds))


@click.command()
@click.argument("export", type=click.Path(path_type=Path, exists=True, file_okay=False), required=False)
@click.option("--batch-size", "batch_sizes", type=click.IntRange(1), multiple=True, default=(1, 8), show_default=True)
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Number of processes for each model."
)
@click.option("--seconds", type=FiniteRange(0), default=3.0, show_default=True, help="Duration of each measurement.")
@child_option(time_model)
def main(export: Path | None, batch_sizes: tuple[int, ...], rounds: int, seconds: float) -> None:
    """Compare the precisions in an export folder (default: the newest run's)."""
    folder = export or newest_export().run.export_folder
    files = {name: folder / f"model.{name}.onnx" for name in _PRECISIONS}
    files = {name: file for name, file in files.items() if file.is_file()}
    if "fp32" not in files:
        raise click.UsageError(f"expected model.fp32.onnx in '{folder}', found none; make one with: ctonnx export")
    click.echo(f"{folder}: milliseconds per image, medians of {rounds} processes each, in turn")
    for batch_size in batch_sizes:
        found = measure_in_turn(files, rounds, lambda name: measure(files[name], batch_size, seconds))  # noqa: B023  # not kept
        for name, samples in found.items():
            ratio = paired_ratio(found["fp32"], samples)
            click.echo(
                f"batch {batch_size:3}  {name}  {statistics.median(samples):7.2f} ms ({min(samples):.2f} to "
                f"{max(samples):.2f})  {ratio:5.2f} times as fast as fp32  {files[name].stat().st_size / 1e6:6.1f} MB"
            )


if __name__ == "__main__":
    main()
