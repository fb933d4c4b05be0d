"""With two sessions in one process, only the first one is timed."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ctonnx.prediction.predictor import Predictor
from ctonnx_bench.experiments.overheads import thread_spinning
from ctonnx_bench.experiments.overheads.thread_spinning import CASES, main, median_seconds


def test_other_sessions_run_in_between_and_are_not_timed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bool] = []
    ran: list[int] = []

    class Noting(Predictor):
        def __init__(self, path: Path, *, spinning: bool) -> None:
            super().__init__(path, threads=1, spinning=spinning)
            opened.append(spinning)
            self.number = len(opened)

        def predict_pixels(self, pixels: object) -> Any:
            ran.append(self.number)

    monkeypatch.setattr(thread_spinning, "Predictor", Noting)
    assert median_seconds(model, 2, False, 1) < 1
    assert opened == [False, False]
    assert ran == [1, 2] * 6


def test_cases_are_measured_in_processes_of_their_own(model: Path) -> None:
    result = CliRunner().invoke(main, [str(model), "--rounds", "1", "--runs", "1"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line[:40].rstrip() for line in lines[1:]] == list(CASES)
    assert lines[1].endswith("1.00 times")
