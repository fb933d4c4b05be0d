"""The overhead of the predictor is measured and printed; its size is not tested."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from ctonnx.prediction.predictor import Predictor
from ctonnx_bench.experiments.overheads.predictor import main, overhead


@pytest.mark.parametrize("rounds", [1, 4])
def test_both_are_timed_equally_often(model: Path, rounds: int) -> None:
    bare, predicted = overhead(Predictor(model), batch_size=2, rounds=rounds)
    assert len(bare) == len(predicted) == rounds
    assert min(*bare, *predicted, 1.0) > 0


def test_report_names_the_model_and_both_medians(model: Path) -> None:
    result = CliRunner().invoke(main, [str(model), "--rounds", "2", "--batch-size", "1"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == f"{model}, batch 1, 2 rounds in turn, medians"
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "bare session.run",
        "Predictor.predict_pixels",
        lines[3][:25],
    ]
    assert lines[3].startswith("overhead, median of pairs")
