"""The command group: lazy, and an error of a command becomes one sentence and an exit code."""

import errno
import importlib
import subprocess
import sys
import warnings
from importlib.metadata import metadata, version
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from PIL import Image
from tests.runtime.cli.blocked_imports import ctonnx

from ctonnx.cli import main as cli
from ctonnx.cli.main import main
from ctonnx.errors import CheckFailed, CtonnxError, DataError, ImageError, ModelError, ProviderError

COMMANDS = (
    *(
        "demo",
        "data",
        "train",
        "evaluate",
        "compress",
        "export",
        "verify",
        "sign",
        "inspect",
        "recalibrate",
        "predict",
        "serve",
    ),
    *("node", "drift", "doctor", "bench", "completion"),
)

# --- lazy ------------------------------------------------------------------------------------------------------------


def test_help_lists_every_command_with_its_line() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    lines = result.stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split() for line in lines] == [[name, *entry.help.split()] for name, entry in cli._COMMANDS.items()]
    assert tuple(cli._COMMANDS) == COMMANDS


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_imports_no_command_and_no_library(word: str) -> None:
    blocked = (
        "numpy",
        "PIL",
        "onnxruntime",
        "torch",
        "starlette",
        "uvicorn",
        "ctonnx.cli.commands",
        "ctonnx_train",
        "ctonnx_export",
    )
    done = ctonnx(word, without=blocked)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {name}  " in done.stdout for name in COMMANDS)


def test_version_is_the_distributions() -> None:
    done = subprocess.run([sys.executable, "-m", "ctonnx", "--version"], check=True, capture_output=True, text=True)
    assert done.stdout.rstrip().endswith(f"version {version('ctonnx')}")


@pytest.mark.parametrize("name", COMMANDS)
def test_line_in_the_groups_help_is_the_commands_own(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert cli._COMMANDS[name].help == command.get_short_help_str(limit=200)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_called_by_its_name_and_has_an_example(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    leaves = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    assert [leaf.name for leaf in leaves if "Example" not in (leaf.help or "")] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_extras_of_a_command_are_extras_of_the_distribution(name: str) -> None:
    provided = metadata("ctonnx").get_all("Provides-Extra") or []
    assert set(cli._COMMANDS[name].extras.split(",")) <= {*provided, ""}


def test_unknown_command_is_rejected() -> None:
    result = CliRunner().invoke(main, ["diagnose"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == "Error: No such command 'diagnose'."


def test_no_command_shows_the_help() -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2
    assert "Commands:" in result.output


@pytest.mark.parametrize("module", ["ctonnx.prediction.inputs", "ctonnx.cli.commands.predict"])
def test_missing_module_of_ctonnx_is_not_hidden_as_a_missing_extra(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = CliRunner().invoke(main, ["predict", "scan.png"])
    assert isinstance(result.exception, ModuleNotFoundError)
    assert result.exception.name == module


# --- what a command raises -------------------------------------------------------------------------------------------


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `ctonnx predict` when its first step raises an error."""

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(importlib.import_module("ctonnx.prediction.inputs"), "find_images", fail)
    return CliRunner().invoke(main, ["predict", "scan.png"])


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (CtonnxError("a sentence"), 2, "Error: a sentence\n"),
        (ImageError("damaged", "a.png"), 2, "Error: a.png: damaged\n"),
        (ModelError("a sentence"), 2, "Error: a sentence\n"),
        (ProviderError("a sentence"), 2, "Error: a sentence\n"),
        (DataError("a sentence"), 2, "Error: a sentence\n"),
        (CheckFailed("a sentence"), 1, "Error: a sentence\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out.onnx"),
            2,
            "Error: No space left on device: 'out.onnx'\n",
        ),
        (OSError(errno.EROFS, "Read-only file system"), 2, "Error: [Errno 30] Read-only file system\n"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), 2, "Error: Permission denied: 'runs'\n"),
        (OSError("a sentence"), 2, "Error: a sentence\n"),
        (KeyboardInterrupt(), 130, "\nctonnx: stopped\n"),
        (
            MemoryError(),
            2,
            "Error: there is not enough memory for this command; end other programs, or raise the limit\n",
        ),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_error_of_a_command_becomes_a_sentence_and_an_exit_code(
    error: BaseException, exit_code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = raising(error, monkeypatch)
    assert (result.stdout, result.stderr, result.exit_code) == ("", message, exit_code)


def test_torch_and_torchvision_of_two_builds_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch of PyTorch's CPU wheels with the default torchvision, which is for CUDA."""
    monkeypatch.setattr("ctonnx.system.packages.version_of", {"torch": "2.13.0+cpu", "torchvision": "0.28.0"}.get)
    result = raising(RuntimeError("operator torchvision::nms does not exist"), monkeypatch)
    assert (result.stdout, result.exit_code) == ("", 2)
    assert result.stderr == (
        "Error: expected matching builds of torch and torchvision, found torch 2.13.0+cpu and torchvision 0.28.0; "
        "install both from one place, such as PyTorch's CPU wheels\n"
    )


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("a bug"), AttributeError("a bug")], ids=repr)
def test_bug_is_not_hidden(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    assert raising(error, monkeypatch).exception is error


def test_warnings_of_pillow_are_not_among_the_rows(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (80, 80)).save(tmp_path / "scan.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        result = CliRunner().invoke(main, ["predict", str(tmp_path / "scan.png"), "-m", str(model)])
    assert (result.exit_code, [str(warning.message) for warning in warned]) == (0, [])
