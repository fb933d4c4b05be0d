"""The command takes the settings of a GPU or of the rehearsal, and exits as the kit."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ctonnx_bench.gpu import cli
from ctonnx_bench.gpu.cli import main
from ctonnx_bench.gpu.kit import Kit
from ctonnx_bench.gpu.settings import ON_A_GPU, REHEARSAL, KitSettings
from ctonnx_bench.gpu.step import STEPS, StepResult


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Records the settings, folder and steps of the kit, one of whose two steps fails."""
    seen: list[Any] = []

    def run(settings: KitSettings, output: Path, **options: Any) -> Kit:
        seen.append((settings, output, [step.name for step in options["steps"]]))
        results = [StepResult(step="a", title="a", state="passed"), StepResult(step="b", title="b", state="failed")]
        return Kit(settings, options["command"], results, seconds=12.3)

    monkeypatch.setattr(cli, "run_kit", run)
    return seen


def test_kit_is_that_of_a_gpu_unless_it_is_rehearsed(started: list[Any]) -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 1
    assert result.stdout == f"1 of 2 steps passed in 12 s: {Path('gpu-report/gpu-report.md')}\n"
    CliRunner().invoke(main, ["--rehearsal", "--output", "out", "--budget", "60", "--steps", "latency,facts"])
    [first, second] = started
    assert first == (ON_A_GPU, Path("gpu-report"), [step.name for step in STEPS])
    assert second[0].budget_s == 60
    assert second[0].provider == REHEARSAL.provider
    assert second[1:] == (Path("out"), ["facts", "latency"])  # in the order of the kit


def test_unknown_step_is_an_error_with_the_existing_ones(started: list[Any]) -> None:
    result = CliRunner().invoke(main, ["--steps", "bench"])
    assert result.exit_code == 2
    assert "found 'bench'" in result.stderr
    assert started == []
