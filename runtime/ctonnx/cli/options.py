"""Options that several commands share, and the type of those that are numbers."""

import math
from pathlib import Path
from typing import Any

import click

from ctonnx.inference.providers import PROVIDERS
from ctonnx.system.cpu import check_threads

__all__ = ["FiniteRange", "model_option", "provider_option", "threads_option"]


class FiniteRange(click.FloatRange):
    """A range of numbers that holds neither nan, which every comparison lets through, nor inf."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"expected a finite number, found {number}.", param, ctx)
        return number


model_option = click.option(
    "--model",
    "-m",
    type=click.Path(path_type=Path),
    help="An .onnx file or a run; default: the newest run with an export.",
)
"""`--model`; which one is taken without it is said, and whether a newer run has no export."""

provider_option = click.option(
    "--provider",
    type=click.Choice(list(PROVIDERS)),
    default="cpu",
    show_default=True,
    help="What the model runs on; where it cannot, the exit code is 2 and the message says what mends it.",
)
"""`--provider`, which is what runs, or the command ends."""


def _threads(ctx: click.Context, parameter: click.Parameter, value: int | None) -> int | None:
    try:
        check_threads(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", ctx, parameter) from error
    return value


threads_option = click.option(
    "--threads",
    type=click.IntRange(1),
    callback=_threads,
    help="For the model; default: every core this process may use.",
)
"""`--threads`, of which there may be as many as the machine has cores, and 64 on any: of commands that run a model, and
of those that train, evaluate or export one."""
