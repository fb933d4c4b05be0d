"""Overhead of `Predictor` over a bare `session.run` on ready pixels.

    python -m ctonnx_bench.experiments.overheads.predictor [MODEL] [--batch-size 8] [--rounds 200]

Both run on the same session, in turn, so that neither the clock speed nor a second session's threads favours one.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from ctonnx.parity.outputs import OUTPUT_NAMES
from ctonnx.prediction.predictor import Predictor
from ctonnx_bench.measurement.interleaving import measure_in_turn, paired_ratio

__all__ = ["main", "overhead"]

_WARM_UP = 5  # rounds


def overhead(predictor: Predictor, *, batch_size: int, rounds: int) -> tuple[list[float], list[float]]:
    """Returns the seconds of each run of a bare `session.run` and of `Predictor.predict_pixels`, in turn."""
    size = predictor.spec.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (batch_size, size, size, 3), np.uint8)

    def bare() -> object:
        return predictor.session.run(OUTPUT_NAMES, {"pixels": pixels})

    def predicted() -> object:
        return predictor.predict_pixels(pixels)

    samples = measure_in_turn((bare, predicted), _WARM_UP + rounds, _seconds)
    return samples[bare][_WARM_UP:], samples[predicted][_WARM_UP:]


@click.command()
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Images per run.")
@click.option("--rounds", type=click.IntRange(1), default=200, show_default=True, help="Number of runs of each.")
def main(model: Path | None, batch_size: int, rounds: int) -> None:
    """Compare Predictor.predict_pixels with a bare session.run on MODEL (default: the newest run's)."""
    predictor = Predictor(model)
    bare, predicted = overhead(predictor, batch_size=batch_size, rounds=rounds)
    click.echo(f"{predictor.path}, batch {batch_size}, {rounds} rounds in turn, medians")
    click.echo(f"bare session.run          {statistics.median(bare) * 1e3:8.3f} ms")
    click.echo(f"Predictor.predict_pixels  {statistics.median(predicted) * 1e3:8.3f} ms")
    click.echo(f"overhead, median of pairs {paired_ratio(predicted, bare) - 1:8.2%}")


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
