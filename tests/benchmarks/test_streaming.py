"""The streaming benchmark runs each case in a process of its own, in turn."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ctonnx_bench import streaming
from ctonnx_bench.streaming import main, measure


def test_folder_is_answered_at_a_rate(model: Path, phantoms: Path) -> None:
    assert measure(model, phantoms / "test", 2, 2) > 0


def test_cases_take_turns(model: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[int, int]] = []

    def run(command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        _, _, workers, batch_size = json.loads(command[-1])
        ran.append((workers, batch_size))
        return subprocess.CompletedProcess(command, 0, stdout=f"{10 * workers + batch_size}\n")

    monkeypatch.setattr(streaming, "available_cores", lambda: 4)
    monkeypatch.setattr(streaming, "workers_for", lambda count: 4)
    monkeypatch.setattr(subprocess, "run", run)
    words = [str(model), str(phantoms), "--rounds", "2", "--batch-size", "1", "--batch-size", "8"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    once = [(1, 1), (1, 8), (4, 1), (4, 8)]
    assert ran == [*once, *reversed(once)]
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0].endswith(" on 4 cores: images a second, medians of 2 processes each, in turn")
    assert lines[1] == "1 workers of 4 threads, batch 1 11.0 (11.0 to 11.0)"
    assert lines[4] == "4 workers of 1 threads, batch 8 48.0 (48.0 to 48.0)"
