"""Start-up time of commands and imports: whole processes, in turn, on a warm disk.

python -m ctonnx_bench.experiments.overheads.startup [--rounds 20]
"""

import os
import statistics
import subprocess
import sys
import time

import click

__all__ = ["CASES", "main", "startup"]

CASES = {
    "python -c pass": ("-c", "pass"),
    "import click": ("-c", "import click"),
    "import ctonnx": ("-c", "import ctonnx"),
    "ctonnx --help": ("-m", "ctonnx", "--help"),
}
"""The interpreter's arguments for each case; the first two are lower bounds for the others."""


def startup(rounds: int) -> dict[str, list[float]]:
    """Returns the wall seconds of each case's processes, run in turn after one round that is not counted."""
    samples: dict[str, list[float]] = {name: [] for name in CASES}
    # As after an installation that compiles: without bytecode every process would compile its sources.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for number in range(rounds + 1):
        for name, arguments in CASES.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environ)
            if number:
                samples[name].append(time.perf_counter() - start)
    return samples


@click.command()
@click.option(
    "--rounds", type=click.IntRange(1), default=20, show_default=True, help="Number of processes for each case."
)
def main(rounds: int) -> None:
    """Compare the start-up of `ctonnx --help` and `import ctonnx` with that of Python itself."""
    click.echo(f"{rounds} processes each, in turn, seconds: median (minimum to maximum)")
    for name, samples in startup(rounds).items():
        click.echo(f"{name:16}  {statistics.median(samples):.3f} ({min(samples):.3f} to {max(samples):.3f})")


if __name__ == "__main__":
    main()
