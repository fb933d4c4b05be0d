"""Options that several commands share."""

import click

__all__ = ["class_name_option"]


def _renames(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if not all(value.partition("=")[::2]):
            raise click.BadParameter(f"expected OLD=NEW, found '{value}'")
    return dict(value.split("=", 1) for value in values)


class_name_option = click.option(
    "--class-name",
    "class_names",
    metavar="OLD=NEW",
    multiple=True,
    callback=_renames,
    help="The class (NEW) of a class folder (OLD); may be repeated.",
)
"""Of the commands that read a data set."""
