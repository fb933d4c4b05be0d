"""All measurements of the node are printed; their values are not tested."""

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from ctonnx_bench.experiments.serving import pacs_node

LINES = [
    r"model\.fp32\.onnx: 4 instances of 512 x 512 pixels, medians of 1 rounds in turn",
    r"reception, bare server +\d+\.\d instances/s, 1\.000 of the bare server's rate",
    r"reception, bare server, waits for the disk +\d+\.\d instances/s, \d+\.\d+ of the bare server's rate",
    r"reception, node +\d+\.\d instances/s, \d+\.\d+ of the bare server's rate",
    r"first result [+-]\d+\.\d s after the last series settled",
    r"all results -?\d+\.\d s after it, -?\d+\.\d\d of the \d+\.\d s of ctonnx predict --by series",
    r"memory \d+, \d+ MB, after each 4 instances of 8",
]


@pytest.mark.skipif(shutil.which("storescu") is None, reason="the Debian package dcmtk is not installed")
def test_every_measurement_is_printed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacs_node, "_SETTLE", 0.5)
    result = CliRunner().invoke(pacs_node.main, [str(model), "--instances", "4", "--rounds", "1", "--long", "8"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line for line, form in zip(lines, LINES, strict=True) if not re.fullmatch(form, line)] == []
