"""Path, provider and caveats of a command's model, on stderr."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import click

if TYPE_CHECKING:
    from ctonnx.artifacts.spec import ModelSpec
    from ctonnx.inference.providers import Provider

__all__ = ["ShownModel", "chosen_provider", "show_model", "show_newer_run"]


class ShownModel(Protocol):
    """A model to print: a `ctonnx.prediction.predictor.Predictor`, or one that other processes open."""

    @property
    def path(self) -> Path:
        """Model file."""

    @property
    def spec(self) -> "ModelSpec":
        """Spec of the model."""

    @property
    def provider(self) -> str:
        """Provider that runs it."""

    @property
    def signed_by(self) -> str | None:
        """Fingerprint of the trusted key that signed it; None if no signature was asked for."""

    @property
    def refusal(self) -> str | None:
        """Reason why the requested provider does not run, if the CPU is used instead."""


def show_model(predictor: ShownModel, *, newest: bool) -> None:
    """Prints the model, its provider and its most important caveat; `newest` is True if the user named no model."""
    from ctonnx.artifacts.caveats import caveats_of, missing_checks

    if predictor.refusal:
        click.echo(f"note: using the CPU (--fallback): {predictor.refusal}", err=True)
    choice = ""
    if newest:
        from ctonnx.prediction.model_selection import newest_export

        choice = f", {newest_export().description}"
    click.echo(f"model: {predictor.path} ({predictor.spec.precision} on {predictor.provider}{choice})", err=True)
    if predictor.signed_by:
        click.echo(f"signed by: sha256:{predictor.signed_by}", err=True)
    if newest:
        show_newer_run()
    if predictor.spec.synthetic:
        click.echo(
            "note: this model was trained on synthetic phantoms; its predictions have no clinical meaning", err=True
        )
    spec = predictor.spec
    if missing := missing_checks(spec):
        click.echo(f"note: {missing}", err=True)
    if caveats := caveats_of(spec):
        more = f" ({len(caveats) - 1} more: ctonnx inspect {predictor.path})" if len(caveats) > 1 else ""
        click.echo(f"caveat: {caveats[0]}{more}", err=True)


def chosen_provider(
    provider: "Provider | Literal['auto']",
    model: Path | None,
    threads: int | None,
    *,
    spinning: bool = True,
    trust: Sequence[Path] = (),
) -> "Provider":
    """Returns the provider of a command; for `auto` the fastest one, which is printed with the reason.

    It is for `model` itself: of a folder, its best file is the measured one, and that of the CPU for `--fallback`.

    Raises:
        ModelError: If `auto` finds no model.
        SignatureError: If `auto` finds one that no key of `trust` signed, or that is not as it was signed.
        CheckFailed: If no provider passes the verification.
    """
    if provider != "auto":
        return provider
    from ctonnx.prediction.device.fastest_provider import fastest_provider

    log = partial(click.echo, err=True)
    choice = fastest_provider(model, threads=threads, spinning=spinning, trust=trust, log=log)
    log(f"provider: {choice.summary}")
    return choice.provider


def show_newer_run() -> None:
    """Prints a note if a run was trained later than the newest one with an export."""
    from ctonnx.errors import ModelError
    from ctonnx.prediction.model_selection import newest_export

    try:
        note = newest_export().note
    except ModelError:  # opening the model reports it
        return
    if note:
        click.echo(f"note: {note}", err=True)
