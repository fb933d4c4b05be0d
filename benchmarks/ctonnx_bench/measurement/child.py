"""A measurement in a child process that runs the caller's own module: `python -m MODULE --child ARGUMENTS`."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import click

__all__ = ["child_option", "measure_in_child"]


def child_option(measure: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the hidden option `--child`, with which a command prints the result of `measure` as JSON, and ends."""

    def call(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            click.echo(json.dumps(measure(*json.loads(value))))
            ctx.exit()

    return click.option("--child", hidden=True, is_eager=True, expose_value=False, callback=call)


def measure_in_child(module: str, *arguments: Any) -> Any:
    """Runs a module with its `child_option` in a new process, and returns the result of its function.

    The arguments are JSON values; paths become strings.
    """
    command = [sys.executable, "-P", "-m", module, "--child", json.dumps(arguments, default=str)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])
