"""File names on stdin, one per line or with NUL characters between them."""

import codecs
import locale
import os
import sys
from collections.abc import Sequence

import click

__all__ = ["names_on_stdin"]


def names_on_stdin(paths: Sequence[str], *, null: bool) -> list[str]:
    """Returns the file names on stdin, for the single path `-`: patterns are not expanded, and invalid UTF-8 is kept.

    Raises:
        click.UsageError: If there are other paths, no names, or NUL characters without `null`.
    """
    if list(paths) != ["-"]:
        raise click.UsageError("expected - as the only PATH, for names on stdin, found other paths")
    data = sys.stdin.buffer.read().removeprefix(codecs.BOM_UTF8)  # written by editors on Windows
    if not null and b"\0" in data:
        raise click.UsageError(
            "expected a file name on each line of stdin, found NUL characters; to read names that end with them, add "
            "-0: ctonnx predict -0 -"
        )
    names = data.split(b"\0") if null else data.splitlines()
    if not (files := [_name(name) for name in names if name]):
        raise click.UsageError("expected file names on stdin, found none")
    return files


def _name(name: bytes) -> str:
    try:
        return os.fsdecode(name)
    except UnicodeDecodeError:  # on Windows: a name in the system's code page
        return name.decode(locale.getencoding(), errors="surrogateescape")
