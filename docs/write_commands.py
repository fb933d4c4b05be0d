"""Writes docs/reference/commands.md, the reference of every command, from the commands' own help."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ctonnx.cli.main import main

HEAD = """\
# Commands

Made by `make docs` from what `ctonnx COMMAND --help` prints. Results go to standard output, progress and notes to
standard error. Exit codes: 0 done; 1 ran, and something failed its check; 2 wrong use; 130, 143 and 129 stopped
by Ctrl-C, by SIGTERM or by SIGHUP (a terminal that was closed).
"""


def sections(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[str]:
    """Yields a section for a command and for each command in it."""
    context = click.Context(command, info_name=name, parent=parent, terminal_width=100, **command.context_settings)
    yield f"## `{context.command_path}`\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None:
                yield from sections(found, inner, context)


text = "\n".join([HEAD, *sections(main, "ctonnx")])
if "--print" in sys.argv:
    sys.stdout.write(text)
else:
    (Path(__file__).parent / "reference/commands.md").write_text(text, encoding="utf-8")
