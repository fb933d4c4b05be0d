"""A measurement in a process of its own, by the module that it belongs to: `python -m MODULE --child SETTINGS`."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import click

__all__ = ["child_option", "measure_in_child"]


def child_option(measure: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the hidden option by which a module's command measures one thing, prints it as JSON, and ends.

    Args:
        measure: is given what `measure_in_child` was given.
    """

    def answer(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            click.echo(json.dumps(measure(*json.loads(value))))
            ctx.exit()

    return click.option("--child", hidden=True, is_eager=True, expose_value=False, callback=answer)


def measure_in_child(module: str, *settings: Any) -> Any:
    """Returns what a module's `child_option` measures in a process of its own.

    Args:
        module: by its name.
        settings: that JSON can hold; a path is handed over as text.
    """
    command = [sys.executable, "-P", "-m", module, "--child", json.dumps(settings, default=str)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])
