"""Overhead of `ctonnx bench`: its loop with its checks compared with a bare loop, on one session.

    python -m ctonnx_bench.experiments.overheads.harness [MODEL] [--rounds 60] [--seconds 0.2]

Both loops take turns in one process, on the same session and pixels, in many short rounds, so that neither the clock
speed, nor the threads of another session, nor another program favours one.
"""

import statistics
import time
from pathlib import Path

import click
import numpy as np

from ctonnx.cli.options import FiniteRange
from ctonnx.parity.outputs import OUTPUT_NAMES
from ctonnx.prediction.predictor import Predictor
from ctonnx_bench.measurement.interleaving import measure_in_turn, paired_ratio
from ctonnx_bench.measurement.worker import timed_loop, warm_up, without_collector

__all__ = ["compare_loops", "main"]


def compare_loops(predictor: Predictor, *, rounds: int, seconds: float) -> tuple[list[float], list[float]]:
    """Returns the median seconds of a run in each round: of a bare loop, and of the benchmark's.

    One more round of `seconds` before them is not counted.
    """
    size = predictor.spec.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    session = predictor.session
    kept: list[object] = []

    def bare() -> list[float]:
        samples: list[float] = []
        end = time.perf_counter() + seconds
        while not samples or time.perf_counter() < end:
            start = time.perf_counter()
            session.run(OUTPUT_NAMES, {"pixels": pixels})
            samples.append(time.perf_counter() - start)
        return samples

    def harness() -> list[float]:
        kept.clear()
        with without_collector():
            warm_up(predictor.predict_pixels, [pixels], seconds)
            return timed_loop(
                predictor.predict_pixels, [pixels], seconds, lambda number, outputs: kept.append(outputs.probabilities)
            )

    found = measure_in_turn((bare, harness), rounds + 1, lambda loop: statistics.median(loop()))
    return found[bare][1:], found[harness][1:]


@click.command()
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--rounds", type=click.IntRange(1), default=60, show_default=True, help="Rounds of each loop, in turn.")
@click.option("--seconds", type=FiniteRange(0), default=0.2, show_default=True, help="Duration of each round.")
def main(model: Path | None, rounds: int, seconds: float) -> None:
    """Compare the benchmark's loop with a bare loop on MODEL (default: the newest run's), at batch 1."""
    predictor = Predictor(model)
    bare, harness = compare_loops(predictor, rounds=rounds, seconds=seconds)
    click.echo(f"{predictor.path}, batch 1, {rounds} rounds of each loop in turn, medians")
    click.echo(f"bare loop            {statistics.median(bare) * 1e3:8.3f} ms")
    click.echo(f"the benchmark's      {statistics.median(harness) * 1e3:8.3f} ms")
    click.echo(f"overhead, of pairs   {paired_ratio(harness, bare) - 1:8.2%}")


if __name__ == "__main__":
    main()
