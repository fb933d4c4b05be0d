"""The busy core: measurements in turn, a core that is busy for half of them, and the maximum ratio."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ctonnx_bench.experiments.throughput import busy_core as module
from ctonnx_bench.experiments.throughput.busy_core import busy_core, main, measure_training


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[bool, tuple[Any, ...]]]]:
    """Records measurements, and whether a core was busy; an epoch takes 5 s, or `busy` seconds with a busy core."""
    noted: list[tuple[bool, tuple[Any, ...]]] = []
    kept: list[bool] = []

    @contextmanager
    def busy_one(*, anywhere: bool) -> Iterator[None]:
        kept.append(anywhere)
        yield
        kept.pop()

    def of(busy: float) -> list[tuple[bool, tuple[Any, ...]]]:
        def measure(name: str, *settings: Any) -> float:
            assert name == "ctonnx_bench.experiments.throughput.busy_core"
            noted.append((bool(kept), settings))
            return busy if kept else 5.0

        monkeypatch.setattr(module, "measure_in_child", measure)
        monkeypatch.setattr(module, "busy_core", busy_one)
        return noted

    return of


def test_states_take_turns_and_are_compared_round_by_round(measured: Callable[..., Any], tmp_path: Path) -> None:
    noted = measured(7.5)
    result = CliRunner().invoke(main, [str(tmp_path), "--rounds", "2", "--epochs", "3", "--threads", "2"])
    assert result.exit_code == 0, result.output
    assert [busy for busy, _ in noted] == [False, True, True, False]
    assert {settings for _, settings in noted} == {("training", tmp_path, 112, 16, 3, 2, True)}
    assert result.stdout.splitlines() == [
        "seconds of an epoch at 112 pixels, batch 16; threads as in the command; medians of 2 processes each, in turn",
        "idle             5.00 (5.00 to 5.00)  1.00 times",
        "one core busy    7.50 (7.50 to 7.50)  1.50 times",
    ]


def test_an_epoch_that_takes_too_long_fails(measured: Callable[..., Any], tmp_path: Path) -> None:
    measured(15.0)
    result = CliRunner().invoke(main, [str(tmp_path), "--openmp-default"])
    assert result.exit_code == 1
    assert result.stderr == "Error: expected at most 2.5 times as long with one core busy, found 3.00\n"
    assert "threads with OpenMP's defaults" in result.stdout


def test_export_is_measured_instead_of_a_training(measured: Callable[..., Any], tmp_path: Path) -> None:
    noted = measured(6.0)
    result = CliRunner().invoke(main, [str(tmp_path), "--export", "runs/one", "--precision", "fp32,fp16"])
    assert result.exit_code == 0, result.output
    assert {settings for _, settings in noted} == {("export", Path("runs/one"), "fp32,fp16", None, True)}
    assert result.stdout.startswith("seconds of an export of runs/one (fp32,fp16); ")


@pytest.mark.parametrize("anywhere", [True, False])
def test_process_is_busy_within_the_block_and_then_killed(anywhere: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(command: list[str]) -> "subprocess.Popen[bytes]":
        started.append(popen(command))
        return started[0]

    monkeypatch.setattr("ctonnx_bench.experiments.throughput.busy_core.subprocess.Popen", start)
    with busy_core(anywhere=anywhere):
        assert started[0].poll() is None
        if hasattr(os, "sched_getaffinity"):
            cores = os.sched_getaffinity(0)
            assert os.sched_getaffinity(started[0].pid) == (cores if anywhere else {max(cores)})
    assert started[0].returncode is not None


def test_the_median_of_the_epochs_after_the_first_is_taken(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ctonnx.artifacts.run import Run

    asked: list[Any] = []

    def train(data: Path, **options: Any) -> Any:
        asked.append((data, options["settings"].epochs, options["settings"].threads, options["preprocessing"].size))
        run = Run(tmp_path)
        run.metrics_file.write_text("epoch,seconds\n1,90\n2,4\n3,6\n4,5\n", encoding="utf-8")
        return type("Result", (), {"run": run})

    monkeypatch.setattr("ctonnx_train.training.train.train", train)
    assert measure_training(phantoms, 64, 8, 4, 2, True) == 5.0
    assert asked == [(phantoms, 4, 2, 64)]
