"""The overhead of the benchmark is measured against a bare loop, in turn."""

from pathlib import Path

from click.testing import CliRunner

from ctonnx.prediction.predictor import Predictor
from ctonnx_bench.experiments.overheads.harness import compare_loops, main


def test_each_loop_has_a_median_for_each_round(model: Path) -> None:
    with Predictor(model, threads=1) as predictor:
        bare, harness = compare_loops(predictor, rounds=2, seconds=0.0)
    assert len(bare) == len(harness) == 2
    assert min(*bare, *harness) > 0


def test_command_prints_the_overhead(model: Path) -> None:
    result = CliRunner().invoke(main, [str(model), "--rounds", "1", "--seconds", "0"])
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == ["bare", "the", "overhead,"]
