"""Functions of the command line's tests: a command as it is typed, and its outcome; copies of a run and of its data."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ctonnx.artifacts.run import Run
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


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computes on the CPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture
def run(exported_run: Run) -> str:
    """The run, as it is typed."""
    return str(exported_run.folder)


@pytest.fixture
def copied(phantoms: Path, tmp_path: Path) -> Path:
    """A copy of the phantoms."""
    return Path(shutil.copytree(phantoms, tmp_path / "phantoms"))


@pytest.fixture
def copied_run(exported_run: Run, tmp_path: Path) -> Run:
    """A copy of the run, whose weights are a link."""
    run = Run(tmp_path / "runs" / "copy")
    run.folder.mkdir(parents=True)
    run.weights_file.symlink_to(exported_run.weights_file)
    for file in (exported_run.record_file, exported_run.splits_file, exported_run.novelty_file):
        shutil.copy(file, run.folder)
    return run
