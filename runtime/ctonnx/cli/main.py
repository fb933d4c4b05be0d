"""The `ctonnx` command: a lazy group that imports the module of a command when the command is called."""

import errno
import importlib
import sys
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ctonnx.cli.signals import Terminated, signals_as_exceptions

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["main"]


class _Entry(NamedTuple):
    """A command: its place (`module:attribute`), its line in the group's help, and the extras that it needs.

    `extras_of_runs` are those that it needs for a run's checkpoint, if that takes more than an exported model.
    """

    target: str
    help: str
    extras: str = "cpu"
    extras_of_runs: str = ""


_COMMANDS = {
    "demo": _Entry(
        "ctonnx.cli.commands.demo:demo", "Run the whole workflow on synthetic phantoms.", "cpu,train,export"
    ),
    "data": _Entry("ctonnx_train.cli.data:data", "Generate and audit datasets.", "evaluate"),
    "train": _Entry("ctonnx_train.cli.train:train", "Train a classifier on a folder of CT images.", "train"),
    "evaluate": _Entry(
        "ctonnx_train.cli.evaluate:evaluate",
        "Measure a checkpoint or an exported model on labelled images.",
        "cpu,evaluate",
        extras_of_runs="cpu,train",
    ),
    "compress": _Entry(
        "ctonnx_compress.cli:compress", "Make a run smaller: fewer channels, the same outputs.", "cpu,compress"
    ),
    "export": _Entry(
        "ctonnx_export.cli:export", "Export a trained run to ONNX, each precision only if it agrees.", "cpu,export"
    ),
    "verify": _Entry("ctonnx.cli.commands.verify:verify", "Replay a model's golden inputs on this device."),
    "sign": _Entry("ctonnx.cli.commands.sign:sign", "Sign the folder of a model.", "sign"),
    "inspect": _Entry("ctonnx.cli.commands.inspect:inspect", "Show the metadata of an exported model."),
    "recalibrate": _Entry(
        "ctonnx_train.cli.recalibrate:recalibrate",
        "Fit a model's thresholds to a site's own labelled scans.",
        "cpu,evaluate",
    ),
    "predict": _Entry("ctonnx.cli.commands.predict:predict", "Classify images with an exported model."),
    "serve": _Entry("ctonnx.cli.commands.serve:serve", "Serve a web page and an HTTP API.", "cpu,serve"),
    "node": _Entry("ctonnx.cli.commands.node:node", "Run a DICOM node: series in, structured reports out.", "cpu,pacs"),
    "drift": _Entry(
        "ctonnx.cli.commands.drift:drift", "Find out whether what a model is given and predicts has changed."
    ),
    "doctor": _Entry("ctonnx.cli.commands.doctor:doctor", "Check this machine and show how to fix what does not work."),
    "bench": _Entry(
        "ctonnx_bench.cli:bench", "Measure speed, size and correctness of models on this device.", "cpu,bench"
    ),
    "completion": _Entry(
        "ctonnx.cli.completion:completion", "Print the script that completes ctonnx's words in a shell.", ""
    ),
}

_OF_CHECKPOINTS = {"lightning", "safetensors", "torch", "torchvision"}
"""Packages that only a run's checkpoint needs."""


class _Failure(click.ClickException):
    """One sentence on stderr and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it on the class and reads it from the instance


class _LazyGroup(click.Group):
    """A group that imports its commands by name and turns their errors into one sentence and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].target.partition(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ImportError:
            if ctx.resilient_parsing:  # a shell completes words: nobody wants a message about a missing package there
                return None
            raise
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Returns the commands' names and the group's options, without importing any command."""
        from click.shell_completion import CompletionItem

        names = [(name, entry) for name, entry in _COMMANDS.items() if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=entry.help) for name, entry in names), *options]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        from ctonnx.errors import CtonnxError

        try:
            with signals_as_exceptions():
                return super().invoke(ctx)
        except CtonnxError as error:
            raise _Failure(str(error), error.exit_code) from error
        except ImportError as error:
            raise _Failure(_missing(ctx.invoked_subcommand or "", error), 2) from error
        except RuntimeError as error:
            if not str(error).startswith("operator torchvision::"):
                raise
            raise _Failure(_mismatched(), 2) from error
        except KeyboardInterrupt as stop:
            click.echo("\nctonnx: stopped", err=True)
            ctx.exit(stop.exit_code if isinstance(stop, Terminated) else 130)
        except MemoryError as error:
            raise _Failure(
                "there is not enough memory for this command; end other programs, or raise the limit", 2
            ) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # click ends quietly when the reader of a pipe has gone
                raise
            raise _Failure(
                f"{error.strerror or error}: '{error.filename}'" if error.filename else str(error), 2
            ) from error


def _missing(command: str, error: ImportError) -> str:
    """Returns the sentence about a missing package, with the command that installs it.

    It names the extras, as the missing package may be the first of many.
    """
    from ctonnx.system.packages import extras_to_install, installed_builds, missing_extras

    package = (error.name or "").partition(".")[0]
    if package == "onnxruntime" and (installed_builds() or not isinstance(error, ModuleNotFoundError)):
        from ctonnx.inference.diagnosis import explain_import_error

        return explain_import_error(error)
    if package.startswith("ctonnx") or command not in _COMMANDS or not isinstance(error, ModuleNotFoundError):
        raise error
    entry = _COMMANDS[command]
    of_run = entry.extras_of_runs if package in _OF_CHECKPOINTS else ""
    extras = (of_run or entry.extras).split(",")
    install = f"pip install {extras_to_install(extras)}"
    match missing_extras(extras):
        case ():  # part of an extra, or a requirement of a library, was uninstalled
            return f"'ctonnx {command}' needs the package '{package}', which is not installed; {install}"
        case (extra,):
            return f"'ctonnx {command}' needs the extra '{extra}', which is not installed; {install}"
        case missing:
            names = " and ".join(f"'{extra}'" for extra in missing)
            return f"'ctonnx {command}' needs the extras {names}, which are not installed; {install}"


def _mismatched() -> str:
    """Returns the sentence about a torchvision that does not find its operators in the installed torch."""
    from ctonnx.system.packages import version_of

    found = " and ".join(f"{name} {version_of(name) or '(unknown)'}" for name in ("torch", "torchvision"))
    return (
        f"expected matching builds of torch and torchvision, found {found}; install both from one place, such as "
        "PyTorch's CPU wheels"
    )


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="ctonnx")
def main() -> None:
    """From a folder of CT images to an edge model, verified to match its PyTorch original.

    \b
    ctonnx train DATA        train on DATA/train/CLASS/*.png
    ctonnx export            export the newest run to ONNX
    ctonnx predict DIR       classify the images of a folder

    A research tool, not a medical device.
    """
    # Pillow's warnings name no file, and would be printed among the rows.
    warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
    if hasattr(sys.stdout, "reconfigure"):  # file names with invalid UTF-8 are printed escaped
        sys.stdout.reconfigure(errors="backslashreplace")
