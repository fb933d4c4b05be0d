"""Start-up time of commands and imports: whole processes, in turn, on a warm disk.

python -m ctonnx_bench.experiments.overheads.startup [--rounds 20]
"""

import statistics
import sys

import click

from ctonnx_bench.measurement.processes import time_in_turn

__all__ = ["CASES", "main"]

CASES = {
    "python -c pass": ("-c", "pass"),
    "import click": ("-c", "import click"),
    "import ctonnx": ("-c", "import ctonnx"),
    "ctonnx --help": ("-m", "ctonnx", "--help"),
}
"""The interpreter's arguments for each case; the first two are lower bounds for the others."""


@click.command()
@click.option(
    "--rounds", type=click.IntRange(1), default=20, show_default=True, help="Number of processes for each case."
)
def main(rounds: int) -> None:
    """Compare the start-up of `ctonnx --help` and `import ctonnx` with that of Python itself."""
    click.echo(f"{rounds} processes each, in turn, seconds: median (minimum to maximum)")
    commands = {name: [sys.executable, *arguments] for name, arguments in CASES.items()}
    for name, samples in time_in_turn(commands, rounds).items():
        click.echo(f"{name:16}  {statistics.median(samples):.3f} ({min(samples):.3f} to {max(samples):.3f})")


if __name__ == "__main__":
    main()
