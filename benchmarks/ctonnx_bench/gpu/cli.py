"""`python -m ctonnx_bench.gpu`: runs the kit and exits with 0 if every step has passed."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import click

from ctonnx_bench.gpu.kit import run_kit
from ctonnx_bench.gpu.settings import ON_A_GPU, REHEARSAL
from ctonnx_bench.gpu.step import STEPS

__all__ = ["main"]


def _steps(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = tuple(step.name for step in STEPS)
    chosen = names if value is None else tuple(name.strip() for name in value.split(","))
    if unknown := [name for name in chosen if name not in names]:
        raise click.BadParameter(f"expected {', '.join(names)}, joined by commas, found '{unknown[0]}'")
    return chosen


@click.command()
@click.option(
    "--wheels",
    type=click.Path(path_type=Path, file_okay=False),
    expose_value=False,
    help="Folder of wheels to install missing packages from, without a network. PyTorch must be installed.",
)
@click.option("--rehearsal", is_flag=True, help="Run every step on the CPU, at small size.")
@click.option("--budget", type=click.FloatRange(10), help="Seconds for all steps together; default: 540, or 240.")
@click.option(
    "--steps", callback=_steps, metavar="NAME,...", help=f"Steps to run: {', '.join(step.name for step in STEPS)}."
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    default="gpu-report",
    show_default=True,
    help="Folder of the reports; data and models are kept in its folder work.",
)
def main(rehearsal: bool, budget: float | None, steps: tuple[str, ...], output: Path) -> None:
    """Measure and check ctonnx on an NVIDIA GPU, in at most 9 minutes.

    gpu-report.json, gpu-report.md and plots are written after each step. A step that fails or takes too long does not
    keep the next ones from running. The exit code is 0 if every step has passed, else 1.

    \b
    Examples:
      python -m ctonnx_bench.gpu --wheels wheels
      python -m ctonnx_bench.gpu --rehearsal
      python -m ctonnx_bench.gpu --steps facts,training,export,latency
    """
    settings = REHEARSAL if rehearsal else ON_A_GPU
    if budget is not None:
        settings = replace(settings, budget_s=budget)
    kit = run_kit(
        settings,
        output,
        command=shlex.join(["python", "-m", "ctonnx_bench.gpu", *sys.argv[1:]]),
        log=lambda line: click.echo(line, err=True),
        steps=[step for step in STEPS if step.name in steps],
    )
    passed = sum(result.state == "passed" for result in kit.results)
    click.echo(f"{passed} of {len(kit.results)} steps passed in {kit.seconds:.0f} s: {output / 'gpu-report.md'}")
    sys.exit(kit.exit_code)
