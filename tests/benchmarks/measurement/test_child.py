"""A measurement in a child process returns the function's result."""

import json
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ctonnx_bench.measurement.child import child_option, measure_in_child


@click.command()
@child_option(lambda name, number: {name: 2 * number})
def command() -> None:
    click.echo("everything")


def test_child_measures_one_thing_and_ends() -> None:
    assert json.loads(CliRunner().invoke(command, ["--child", '["a", 4]']).stdout) == {"a": 8}
    assert CliRunner().invoke(command, []).stdout == "everything\n"


def test_module_is_run_and_its_last_line_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def run(words: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        seen.extend(words[1:])
        return subprocess.CompletedProcess(words, 0, stdout="a library's noise\n2.5\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert measure_in_child("ctonnx_bench.experiments.throughput.roofline", Path("a.onnx"), 3) == 2.5
    assert seen == ["-P", "-m", "ctonnx_bench.experiments.throughput.roofline", "--child", '["a.onnx", 3]']
