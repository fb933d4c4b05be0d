"""The simulation of drift: small, with a model of phantoms."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ctonnx_bench.experiments.serving import drift_alarms
from ctonnx_bench.experiments.serving.drift_alarms import Month, has_false_alarm, is_found, main

DARK = [{"class": "a", "brightness": "40"}] * 700 + [{"class": "b", "brightness": "48"}] * 700


def test_month_without_a_change_has_no_alarm_and_one_of_two_kinds_has() -> None:
    random = np.random.default_rng(0)
    assert not has_false_alarm(DARK, Month(), random)
    halves = [{**image, "class": "a"} for image in DARK]
    assert is_found(halves, [{**image, "brightness": "200"} for image in halves], Month(), random)
    assert not is_found(halves, halves, Month(), random)


def test_command_counts_months_and_found_changes(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_alarms, "_RUNS", 2)
    monkeypatch.setattr(drift_alarms, "_LOOKS", 3)
    monkeypatch.setattr(drift_alarms, "_SIDE", 64)
    drawn: list[int] = []

    def predicted(predictor: object, count: int, *arguments: object, **options: object) -> list[dict[str, str]]:
        drawn.append(count)
        return DARK[: max(count, 1300)]

    monkeypatch.setattr(drift_alarms, "predicted", predicted)
    result = CliRunner().invoke(main, [str(model), "--images", "1400", "--months", "2"])
    assert result.exit_code == 0, result.output
    assert drawn == [1400, *[400] * len(drift_alarms.CHANGES)]
    assert "without a change: an alarm in 0 of 2 months (95 % interval 0.00% to" in result.output
    assert "the model's own reference" in result.output
    assert " of 3 looks" in result.output
    assert result.output.count("found within 200 images in") == len(drift_alarms.CHANGES)


def test_phantoms_are_counted_as_a_server_counts_them(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ctonnx.prediction.predictor import Predictor

    monkeypatch.setattr(drift_alarms, "_SIDE", 64)
    with Predictor(model) as predictor:
        found = drift_alarms.predicted(predictor, 2, np.random.default_rng(0))
    assert len(found) == 2
    assert all({"class", "score", "novelty", "brightness"} <= set(bins) and bins["size"] == "64x64" for bins in found)
