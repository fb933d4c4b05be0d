"""Options and the log that several commands share."""

from functools import partial

import click

__all__ = ["class_name_option", "log"]

log = partial(click.echo, err=True)
"""Prints a progress message to stderr."""


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
