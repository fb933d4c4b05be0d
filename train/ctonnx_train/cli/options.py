"""Options and the log that several commands share."""

from functools import partial
from typing import Any

import click

from ctonnx.cli.options import FiniteRange
from ctonnx.parity.rounding import share_of_percent

__all__ = ["Percent", "class_name_option", "log"]

log = partial(click.echo, err=True)
"""Prints a progress message to stderr."""


class Percent(FiniteRange):
    """A percentage from 0 to 100, with or without its sign, as a share from 0 to 1."""

    def __init__(self) -> None:
        super().__init__(0, 100)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the share."""
        return share_of_percent(super().convert(str(value).strip().removesuffix("%"), param, ctx))


def _parse_renames(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if not all(value.partition("=")[::2]):
            raise click.BadParameter(f"expected OLD=NEW, found '{value}'")
    return dict(value.split("=", 1) for value in values)


class_name_option = click.option(
    "--class-name",
    "class_names",
    metavar="OLD=NEW",
    multiple=True,
    callback=_parse_renames,
    help="Class name (NEW) for a class folder (OLD); may be repeated.",
)
"""`--class-name` of the commands that read a dataset."""
