"""Options that several commands share."""

import click

from ctonnx.providers import PROVIDERS

__all__ = ["provider_option"]

provider_option = click.option(
    "--provider",
    type=click.Choice(list(PROVIDERS)),
    default="cpu",
    show_default=True,
    help="What the model runs on; where it cannot, the exit code is 2 and the message says what mends it.",
)
"""`--provider`, which is what runs, or the command ends."""
