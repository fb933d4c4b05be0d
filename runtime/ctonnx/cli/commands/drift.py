"""`ctonnx drift`: whether what a server or node is given and predicts has changed."""

from datetime import datetime
from pathlib import Path

import click

from ctonnx.cli.options import json_option, model_option

__all__ = ["drift"]

_FILE = click.Path(path_type=Path, dir_okay=False)
_DAY = click.DateTime(["%Y-%m-%d"])


@click.command(context_settings={"show_default": True})
@click.argument("log", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@model_option
@click.option("--since", type=_DAY, metavar="YYYY-MM-DD", help="First day, in UTC; default: as --images.")
@click.option("--until", type=_DAY, metavar="YYYY-MM-DD", help="Last day, in UTC; default: the last in LOG.")
@click.option(
    "--images",
    type=click.IntRange(1),
    default=200,
    help="Without --since, compare the latest whole days that have so many images.",
)
@click.option(
    "--looks",
    type=click.IntRange(1, 1000),
    default=30,
    help="Number of comparisons in a month: more of them need a larger difference for an alarm.",
)
@click.option("--plot", type=_FILE, metavar="SVG", help="File for a picture of the comparison.")
@json_option
def drift(
    log: Path,
    model: Path | None,
    since: datetime | None,
    until: datetime | None,
    images: int,
    looks: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Find out whether what a model is given and predicts has changed.

    LOG is the file of --usage-log of ctonnx serve or ctonnx node. Its classes, decisions, scores, novelty, brightness
    and sizes are compared with those of the images that the model was fitted on. The exit code is 1 if one of them
    differs. With one comparison a day, the probability of an alarm in a month without a change is at most 1 %.

    \b
    Examples:
      ctonnx drift usage.sqlite
      ctonnx drift usage.sqlite --model model.int8.onnx --plot drift.svg
      ctonnx drift usage.sqlite --since 2026-11-01 --until 2026-11-30 --json
    """
    from ctonnx.inference.session import open_session, read_spec
    from ctonnx.prediction.model_selection import find_model
    from ctonnx.server.monitoring.drift import LEAST_IMAGES, watch
    from ctonnx.server.monitoring.drift_plot import draw
    from ctonnx.system.files import atomic_file, json_text, sha256_of
    from ctonnx.system.text import counted, quoted, table

    if since is not None and until is not None and since > until:
        raise click.UsageError(f"expected --since before --until, found {since:%Y-%m-%d} and {until:%Y-%m-%d}")
    file = find_model(model)
    spec = read_spec(open_session(file, optimize=False), str(file))
    days = [None if day is None else day.date() for day in (since, until)]
    found = watch(log, sha256_of(file), spec, since=days[0], until=days[1], images=images, looks=looks)
    if plot is not None and not found.has_enough:
        click.echo(f"no plot: '{plot}' is not written, as there are too few images", err=True)
    elif plot is not None:
        with atomic_file(plot) as part:
            part.write_text(draw(found, file.name), encoding="utf-8")
    if as_json:
        click.echo(json_text(found.as_dict()), nl=False)
    else:
        click.echo(
            f"{file}: {found.since} to {found.until}, {counted(found.images, 'image')} in use, "
            f"{counted(found.reference_images, 'image')} that it was fitted on"
        )
        rows = [
            [
                each.quantity,
                f"{each.index:.2f}",
                f"{each.index_by_chance:.2f}",
                f"{each.p:.2g}",
                "differs" if each.alarm else "",
            ]
            for each in found.comparisons
        ]
        if rows:
            click.echo("\n".join(table(["quantity", "stability index", "by chance", "p", ""], rows)))
        click.echo(_verdict(found.alarms, quoted(found.alarms), found.has_enough, LEAST_IMAGES, found.level))
    if found.alarms:
        raise click.exceptions.Exit(1)


def _verdict(alarms: list[str], names: str, has_enough: bool, least: int, level: float) -> str:
    if not has_enough:
        return f"too few images: expected at least {least} in use and {least} that the model was fitted on"
    if alarms:
        return f"alarm: {names} differ from the images that the model was fitted on (p at most {level:.2g})"
    return f"no alarm: nothing differs (p above {level:.2g})"
