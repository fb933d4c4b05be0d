"""The comparison of the engines: runs in turn, their ratio, and the driver's memory."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from ctonnx.errors import CtonnxError
from ctonnx_bench.experiments.throughput import ray_engine
from ctonnx_bench.experiments.throughput.ray_engine import Run, main, predict


def test_local_engine_is_run_and_its_speed_and_memory_are_read(model: Path, phantoms: Path) -> None:
    run = predict("local", phantoms / "test", model, 1)
    assert run.speed > 0
    assert run.start == 0.0
    assert run.memory > 10e6


def test_run_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CtonnxError, match=r"^expected local to predict '.*', found: \[.Error: .*\]$"):
        predict("local", tmp_path, None, 1)


def test_engines_take_turns_and_a_slow_one_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[tuple[str, int]] = []

    def run(engine: str, scans: Path, model: Path | None, count: int) -> Run:
        ran.append((engine, count))
        return Run(100.0, 0.0, 10**8) if engine == "local" else Run(80.0, 7.5, 3 * 10**8)

    monkeypatch.setattr(ray_engine, "predict", run)
    result = CliRunner().invoke(main, [str(tmp_path), "--rounds", "2"])
    assert ran == [("local", 2), ("ray", 2), ("ray", 2), ("local", 2)]
    assert result.stdout.splitlines() == [
        "2 actors or threads; medians of 2 runs each, in turn",
        "local    100.0 images/s  1.00 times  driver 100 MB",
        "ray       80.0 images/s  0.80 times  driver 300 MB, 7.5 s until the first image",
    ]
    assert result.stderr == "Error: expected at least 0.85 of the local engine's images/s, found 0.80\n"
    assert CliRunner().invoke(main, [str(tmp_path), "--at-least", "0.8"]).exit_code == 0


def test_memory_is_that_of_folders_with_so_many_links(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "scan.png").touch()

    def run(engine: str, scans: Path, model: Path | None, count: int) -> Run:
        files = list(scans.iterdir())
        assert {file.resolve() for file in files} == {tmp_path / "scan.png"}
        return Run(100.0, 1.0, 10**8 + 10**7 * len(files))

    monkeypatch.setattr(ray_engine, "predict", run)
    result = CliRunner().invoke(main, [str(tmp_path), "--memory", "10,4"])
    assert result.stdout.splitlines() == [
        "      4 files  driver 140 MB  100.0 images/s",
        "     10 files  driver 200 MB  100.0 images/s",
    ]
    assert result.exit_code == 0
    result = CliRunner().invoke(main, [str(tmp_path), "--memory", "4,20"])
    assert result.stderr == "Error: expected at most 64 MB more, found 160 MB\n"
