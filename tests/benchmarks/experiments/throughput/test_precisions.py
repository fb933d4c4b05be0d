"""Each precision is measured in separate processes, in turn, and compared with FP32."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from ctonnx_bench.experiments.throughput import precisions
from ctonnx_bench.experiments.throughput.precisions import main, measure


def test_model_is_timed_in_a_process_of_its_own(model: Path) -> None:
    assert 0 < measure(model, 1, 0.0) < 60_000


def test_models_take_turns_and_are_compared_round_by_round(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []

    def note(file: Path, batch_size: int, seconds: float) -> float:
        noted.append(f"{file.name} {batch_size}")
        return 9.0 if "fp32" in file.name else 3.0

    monkeypatch.setattr(precisions, "measure", note)
    for name in ("fp32", "int8"):
        shutil.copy(model, tmp_path / f"model.{name}.onnx")
    result = CliRunner().invoke(main, [str(tmp_path), "--rounds", "2", "--batch-size", "4"])
    assert result.exit_code == 0, result.output
    assert noted == ["model.fp32.onnx 4", "model.int8.onnx 4", "model.int8.onnx 4", "model.fp32.onnx 4"]
    last = result.stdout.splitlines()[-1]
    assert last.startswith("batch   4  int8     3.00 ms (3.00 to 3.00)   3.00 times as fast as fp32")


def test_folder_without_fp32_is_rejected(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 2
    assert "found none; make one with: ctonnx export" in result.stderr
