"""What is said of a model before it answers."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ctonnx.predictor import Predictor

__all__ = ["introduce"]


def introduce(predictor: "Predictor", *, newest: bool) -> None:
    """Says on stderr which model answers, on what, and what its answers are worth.

    Args:
        predictor: that answers.
        newest: whether nobody named the model.
    """
    if predictor.refusal:
        click.echo(f"note: --fallback takes the CPU: {predictor.refusal}", err=True)
    choice = ", the newest run's" if newest else ""
    click.echo(f"model: {predictor.path} ({predictor.spec.precision} on {predictor.provider}{choice})", err=True)
    if predictor.spec.synthetic:
        click.echo(
            "note: this model was trained on synthetic phantoms; its answers mean nothing for patients", err=True
        )
