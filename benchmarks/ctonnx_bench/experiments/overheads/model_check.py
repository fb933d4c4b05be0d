"""Cost of checking a model file before it is opened: whole processes, in turn, on a warm disk.

python -m ctonnx_bench.experiments.overheads.model_check MODEL [--rounds 20]
"""

import statistics
import sys
import time
from pathlib import Path

import click

from ctonnx.artifacts.onnx_file.operators import check_graph
from ctonnx_bench.measurement.processes import time_in_turn

__all__ = ["main"]

_PROGRAM = """
import sys
import numpy as np
from ctonnx import Predictor
with Predictor(sys.argv[1], check=sys.argv[2] == "True") as predictor:
    size = predictor.spec.preprocessing.size
    predictor.predict_pixels(np.zeros((1, size, size, 3), np.uint8))
"""


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--rounds", type=click.IntRange(1), default=20, show_default=True, help="Number of processes of each kind."
)
def main(model: Path, rounds: int) -> None:
    """Compare the cold start of MODEL with and without its checksum."""
    commands = {check: [sys.executable, "-c", _PROGRAM, str(model), str(check)] for check in (True, False)}
    samples = time_in_turn(commands, rounds)
    ratio = statistics.median(first / second for first, second in zip(samples[True], samples[False], strict=True))
    walks = []
    for _ in range(max(3, rounds)):
        start = time.perf_counter()
        check_graph(model)
        walks.append(time.perf_counter() - start)
    for check, seconds in samples.items():
        name = "checksum compared" if check else "not compared"
        click.echo(f"{name:17}  {statistics.median(seconds):.3f} s ({min(seconds):.3f} to {max(seconds):.3f})")
    click.echo(f"ratio {ratio:.3f}; check of the graph, in both: {statistics.median(walks) * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
