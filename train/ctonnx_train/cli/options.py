"""Options and the log that several commands share."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click

from ctonnx.cli.options import FiniteRange
from ctonnx.images.preprocessing import NEW_MODELS, Color, Crop, Intensity, Resize
from ctonnx.parity.rounding import share_of_percent

__all__ = [
    "Percent",
    "class_name_option",
    "dataset_folder",
    "labels_option",
    "log",
    "preprocessing_options",
    "reject_other_options",
    "reject_preprocessing",
]

log = partial(click.echo, err=True)
"""Prints a progress message to stderr."""


class Percent(FiniteRange):
    """A percentage from 0 to 100, with or without its sign, as a share from 0 to 1."""

    def __init__(self) -> None:
        super().__init__(0, 100)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the share."""
        try:
            return share_of_percent(super().convert(str(value).strip().removesuffix("%"), param, ctx))
        except click.BadParameter:
            self.fail(f"expected a percentage from 0 to 100, such as 5 or 5%, found '{value}'", param, ctx)


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
    help="Class name (NEW) for a class folder or a label (OLD); may be repeated.",
)
"""`--class-name` of the commands that read a dataset."""

labels_option = click.option(
    "--labels",
    metavar="CSV",
    type=click.Path(path_type=Path),
    help="Labels file with the columns path and label, and optionally patient, study, series, split and subgroups such "
    "as sex; paths are relative to its folder, which is DATA if that is left out.",
)
"""`--labels` of the commands that read a dataset."""


def dataset_folder(data: Path | None, labels: Path | None) -> Path:
    """Returns the dataset's folder, by default that of the labels file; raises UsageError without both."""
    if data is not None:
        return data
    if labels is None:
        raise click.UsageError("expected DATA or --labels CSV, found neither", click.get_current_context())
    return labels.parent


_PREPROCESSING = (
    click.option(
        "--image-size",
        type=click.IntRange(32, 4096),
        default=NEW_MODELS.size,
        help="Height and width of the network's input, in pixels.",
    ),
    click.option(
        "--color",
        type=click.Choice(get_args(Color)),
        default=NEW_MODELS.color,
        help="Color space of the network's input.",
    ),
    click.option(
        "--crop",
        type=click.Choice(get_args(Crop)),
        default=NEW_MODELS.crop,
        help="Part of an image to use: all of it, or the bounding box of the body.",
    ),
    click.option(
        "--resize",
        type=click.Choice(get_args(Resize)),
        default=NEW_MODELS.resize,
        help="Method to make images square: stretch them, or pad them with black.",
    ),
    click.option(
        "--intensity",
        type=click.Choice(get_args(Intensity)),
        default=NEW_MODELS.intensity,
        help="Grey values: spread from black to white in each image, or as they are.",
    ),
)


def preprocessing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options for the fields of `Preprocessing`, with the defaults of a training."""
    for option in reversed(_PREPROCESSING):
        command = option(command)
    return command


def reject_preprocessing(ctx: click.Context, needed: str) -> None:
    """Raises UsageError if an option of `preprocessing_options` is given without the option that it belongs to."""
    for name in ("image_size", "color", "crop", "resize", "intensity"):
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"expected --{name.replace('_', '-')} together with {needed}, found it alone", ctx)


def reject_other_options(ctx: click.Context) -> None:
    """Raises UsageError if --resume is combined with anything else: a resumed run keeps its settings."""
    default = click.core.ParameterSource.DEFAULT
    given = [
        parameter.human_readable_name if isinstance(parameter, click.Argument) else parameter.get_error_hint(ctx)
        for parameter in ctx.command.params
        if parameter.name != "resumed" and ctx.get_parameter_source(parameter.name or "") is not default
    ]
    if given:
        raise click.UsageError(
            f"expected --resume RUN alone, found {given[0]} too; a resumed run keeps its settings", ctx
        )
