"""What is said of a model before it answers."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ctonnx.prediction.predictor import Predictor

__all__ = ["introduce", "say_what_is_newer"]


def introduce(predictor: "Predictor", *, newest: bool) -> None:
    """Says on stderr which model answers, on what, and what its answers are worth.

    Args:
        predictor: that answers.
        newest: Whether nobody named the model.
    """
    from ctonnx.artifacts.caveats import model_caveats

    if predictor.refusal:
        click.echo(f"note: --fallback takes the CPU: {predictor.refusal}", err=True)
    choice = ""
    if newest:
        from ctonnx.prediction.model_selection import newest_export

        choice = f", {newest_export().words}"
    click.echo(f"model: {predictor.path} ({predictor.spec.precision} on {predictor.provider}{choice})", err=True)
    if newest:
        say_what_is_newer()
    if predictor.spec.synthetic:
        click.echo(
            "note: this model was trained on synthetic phantoms; its answers mean nothing for patients", err=True
        )
    if caveats := model_caveats(predictor.spec.metrics, predictor.spec.operating_point):
        more = f" ({len(caveats) - 1} more: ctonnx inspect {predictor.path})" if len(caveats) > 1 else ""
        click.echo(f"caveat: {caveats[0]}{more}", err=True)


def say_what_is_newer() -> None:
    """Says on stderr that a run was trained later than the one that was taken, where nobody named one."""
    from ctonnx.errors import ModelError
    from ctonnx.prediction.model_selection import newest_export

    try:
        note = newest_export().note
    except ModelError:  # opening the model reports it
        return
    if note:
        click.echo(f"note: {note}", err=True)
