"""Functions of the command line's tests: a command as it is typed, and its outcome."""

from click.testing import CliRunner, Result

from ctonnx.cli.main import main


def ctonnx(*arguments: str) -> Result:
    """Runs a command."""
    return CliRunner().invoke(main, arguments, prog_name="ctonnx")


def outcome(result: Result) -> tuple[int, str, str]:
    """Returns the exit code, stdout and stderr."""
    return result.exit_code, result.stdout, result.stderr


def failed(error: str) -> tuple[int, str, str]:
    """Returns the outcome of a command that ends with an error."""
    return 2, "", f"Error: {error}\n"


def misused(usage: str, error: str, result: Result) -> bool:
    """Returns whether click ended a command with its usage and an error; between them it points to the help."""
    lines = result.stderr.splitlines()
    return (result.exit_code, result.stdout, lines[0], lines[-1]) == (2, "", f"Usage: {usage}", f"Error: {error}")
