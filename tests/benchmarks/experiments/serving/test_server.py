"""All measurements of the server are printed; their values are not tested."""

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ctonnx_bench.experiments.scans import draw_scans
from ctonnx_bench.experiments.serving.server import main, serving, time_predictor

LINES = [
    r"model\.fp32\.onnx on \d+ cores: 4 PNG scans of \d+ kB, medians of 1 rounds in turn",
    r"ready after +\d+\.\d\d s",
    r"idle +\d+ MB, \d+\.\d% of a core",
    r"predictor, one scan +\d+\.\d ms",
    r"single request +\d+\.\d ms \([+-]\d+\.\d ms\)",
    r"predictor, streaming +\d+\.\d images/s",
    r"3 clients +\d+\.\d images/s \(\d+\.\d% of streaming in the same round; \d+\.\d% to \d+\.\d%\)",
    r"their requests +p50 +\d+\.\d ms, p99 \d+\.\d ms \(\d+\.\d\d times p50\)",
    r"statuses +12 of 200",
    r"memory afterwards +\d+ MB",
    r"long run +20 requests in \d+ s: memory \d+ MB after a 10th, \d+ MB after half, \d+ MB at the end; 20 of 200",
]


def test_every_measurement_is_printed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctonnx_bench.experiments.serving.server._IDLE_SECONDS", 0.2)
    options = ["--clients", "3", "--requests", "12", "--rounds", "1", "--scans", "4", "--long-run", "20"]
    result = CliRunner().invoke(main, [str(model), *options])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line for line, form in zip(lines, LINES, strict=True) if not re.fullmatch(form, line)] == []


def test_server_that_does_not_become_ready_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with (
        pytest.raises(click.ClickException, match="ctonnx serve does not become ready: Error: "),
        serving(tmp_path / "model.onnx"),
    ):
        pass


@pytest.mark.parametrize("streams", [True, False])
def test_predictor_is_measured(streams: bool, model: Path, tmp_path: Path) -> None:
    draw_scans(tmp_path / "scans", 3)
    seconds = time_predictor(model, tmp_path / "scans", streams)
    assert len(seconds) == (1 if streams else 60)
    assert min(seconds) > 0
