"""The command line of `ctonnx compress`."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.conftest import empty_plots, thin_network

from ctonnx.artifacts.run import Run
from ctonnx_compress.cli import compress


@pytest.fixture(autouse=True)
def thin() -> Any:
    with thin_network(), empty_plots():
        yield


def test_a_compression_writes_a_run_and_names_the_next_command(
    trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained_run.folder, tmp_path / "runs/tiny")
    monkeypatch.chdir(tmp_path)
    words = ["--operations", "0.92", "--steps", "1", "--epochs", "1", "--max-drop", "100", "--min-agreement", "0"]
    done = CliRunner().invoke(compress, [*words, "--name", "small"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "newest run: runs/tiny" in done.stderr
    assert "step 1 of 1: looking for the least important channels" in done.stderr
    first, last = done.stdout.splitlines()
    assert first.startswith("runs/small: ")
    assert first.endswith("% of the multiplications of tiny")
    assert last == "wrote checkpoint, run.json, evaluation and compression.md; next: ctonnx export runs/small"
    assert Run(Path("runs/small")).has_checkpoint


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "4", "--epochs", "3"], "expected an epoch for each of 4 steps or more, found --epochs 3"),
        (["--operations", "1"], "'--operations'"),
        (["--operations", "nan"], "'--operations'"),
        (["--max-drop", "101"], "'--max-drop'"),
        (["--resume", "runs/tiny", "--epochs", "3"], "expected --resume RUN alone, found '--epochs' too"),
        (["runs/tiny", "--resume", "runs/tiny"], "expected --resume RUN alone, found RUN too"),
    ],
)
def test_wrong_options_are_usage_errors(words: list[str], message: str) -> None:
    done = CliRunner().invoke(compress, words)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_missing_extra_is_named_before_a_missing_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ctonnx_compress.cli.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="torch_pruning"):
        CliRunner().invoke(compress, [], catch_exceptions=False)
