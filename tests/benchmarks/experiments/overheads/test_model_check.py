"""The cost of the checksum is measured in whole processes, in turn."""

from pathlib import Path

from click.testing import CliRunner

from ctonnx_bench.experiments.overheads.model_check import main


def test_cost_is_printed_as_a_ratio(model: Path) -> None:
    result = CliRunner().invoke(main, [str(model), "--rounds", "1"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == ["checksum compared", "not compared"]
    assert lines[2].startswith("ratio ")
    assert lines[2].endswith(" ms")
