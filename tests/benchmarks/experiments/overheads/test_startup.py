"""The start-up of every case is measured and printed."""

from click.testing import CliRunner

from ctonnx_bench.experiments.overheads.startup import CASES, main


def test_every_case_has_its_line() -> None:
    result = CliRunner().invoke(main, ["--rounds", "1"])
    assert result.exit_code == 0, result.output
    assert [line[:16].rstrip() for line in result.stdout.splitlines()[1:]] == list(CASES)
