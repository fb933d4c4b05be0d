"""Each case of the streaming experiment runs in separate processes, in turn."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ctonnx.errors import CtonnxError
from ctonnx_bench.experiments.throughput import streaming
from ctonnx_bench.experiments.throughput.streaming import main, measure


def test_folder_is_predicted_at_a_rate(model: Path, phantoms: Path) -> None:
    assert measure(model, phantoms / "test", 2, 2) > 0


def test_folder_is_predicted_at_a_rate_with_heatmaps(
    model: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[object] = []
    monkeypatch.setattr("ctonnx.prediction.output.heatmap_folder.save", lambda picture, file: drawn.append(picture))
    assert measure(model, phantoms / "test", 2, 2, heatmaps=True) > 0
    assert len(drawn) == len(list((phantoms / "test").rglob("*.png")))
    monkeypatch.setattr("ctonnx.prediction.output.heatmap_folder.save", lambda picture, file: 1 / 0)
    with pytest.raises(CtonnxError, match="expected a heatmap of each image, found that one failed: division by zero"):
        measure(model, phantoms / "test", 2, 2, heatmaps=True)


def test_cases_take_turns(model: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[int, int]] = []

    def run(command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        _, _, workers, batch_size, heatmaps = json.loads(command[-1])
        ran.append((workers, batch_size))
        return subprocess.CompletedProcess(
            command, 0, stdout=f"{(10 * workers + batch_size) / (2 if heatmaps else 1)}\n"
        )

    monkeypatch.setattr(streaming, "available_cores", lambda: 4)
    monkeypatch.setattr(streaming, "workers_for", lambda count: 4)
    monkeypatch.setattr(subprocess, "run", run)
    words = [str(model), str(phantoms), "--rounds", "2", "--batch-size", "1", "--batch-size", "8"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    once = [(1, 1), (1, 8), (4, 1), (4, 8)]
    assert ran == [*once, *reversed(once)]
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0].endswith(" on 4 cores: images per second, medians of 2 processes each, in turn")
    assert lines[1] == "1 workers of 4 threads, batch 1 11.0 (11.0 to 11.0)"
    assert lines[4] == "4 workers of 1 threads, batch 8 48.0 (48.0 to 48.0)"
    assert len(lines) == 5
    pictures = CliRunner().invoke(
        main, [str(model), str(phantoms), "--rounds", "1", "--batch-size", "10", "--heatmaps"]
    )
    lines = [" ".join(line.split()) for line in pictures.stdout.splitlines()]
    assert lines[1:3] == [
        "1 workers of 4 threads, batch 10 20.0 (20.0 to 20.0)",
        "1 workers of 4 threads, batch 10 10.0 (10.0 to 10.0), with heatmaps: 100 instead of 50 ms per image, a "
        "heatmap costs 50 ms (50 to 50)",
    ]
