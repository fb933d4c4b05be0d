"""`ctonnx completion`: the script with which a shell completes commands, options and file names."""

import os
from pathlib import Path

import click

__all__ = ["completion"]

_SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_CTONNX_COMPLETE"  # asks ctonnx for the words, as click reads it


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS), required=False)
@click.pass_context
def completion(ctx: click.Context, shell: str | None) -> None:
    """Print the script that completes ctonnx's words in a shell.

    SHELL is bash, zsh or fish; default: the one of the environment variable SHELL. Load the script in each new shell:

    \b
    Examples:
      ctonnx completion bash > ~/.ctonnx-completion; echo '. ~/.ctonnx-completion' >> ~/.bashrc
      ctonnx completion zsh > ~/.ctonnx-completion; echo '. ~/.ctonnx-completion' >> ~/.zshrc
      ctonnx completion fish > ~/.config/fish/completions/ctonnx.fish
    """
    from click.shell_completion import get_completion_class

    shell = shell or _current_shell()
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101  click has all of _SHELLS
    root = ctx.find_root()
    # The class of bash asks for bash's version, which it needs to be here; the script itself is the same everywhere.
    script = made(root.command, {}, "ctonnx", _VARIABLE)
    click.echo(script.source_template % script.source_vars())


def _current_shell() -> str:
    name = Path(os.environ.get("SHELL", "")).name
    if name not in _SHELLS:
        raise click.UsageError(
            f"expected bash, zsh or fish in the environment variable SHELL, found {name or 'nothing'!r}; name one of "
            "them: ctonnx completion bash"
        )
    return name
