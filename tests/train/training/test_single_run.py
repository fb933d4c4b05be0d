"""One network with predictions of others; `test_train.py` tests a run from end to end."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from ctonnx.artifacts.run import Run
from ctonnx.images import Preprocessing
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.training.preparation import prepare
from ctonnx_train.training.recipe import TrainSettings, plan
from ctonnx_train.training.results.out_of_fold import OutOfFold
from ctonnx_train.training.resume import RunPlan
from ctonnx_train.training.single_run import train_network

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

SETTINGS = TrainSettings(weights="none", epochs=2, batch_size=4, precision="fp32", positive=("b",), coverage=0.5)


@pytest.mark.usefixtures("on_the_cpu", "small_backbone", "no_reports")
def test_all_values_are_fitted_on_the_predictions_of_other_networks(images_in: ImagesIn, tmp_path: Path) -> None:
    root = images_in(tmp_path / "scans", {"train/a": 4, "train/b": 4, "valid/a": 3, "valid/b": 3, "test/a": 1})
    prepared = prepare(read_data(root), SETTINGS, Preprocessing(size=32), lambda line: None)
    labels = np.array(prepared.labels("valid"))
    logits = np.where(labels[:, None] == np.arange(2), 4, -4).astype(np.float32)  # right, whatever the network learns
    phases = tuple(replace(phase, epochs=1) for phase in plan(SETTINGS))
    others = OutOfFold(
        logits=logits,
        novelty=np.arange(1, 7, dtype=np.float32),
        phases=phases,
        folds=({"accuracy": 1.0},),
        monitored=2,
        test_logits=np.array([[[-4, 4]], [[-4, 4]]], np.float32),  # wrong, whatever the network predicts
        test_novelty=np.array([[5], [9]], np.float32),
    )
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    chosen = RunPlan(data=root, settings=SETTINGS, preprocessing=Preprocessing(size=32), class_names={})
    lines: list[str] = []
    result = train_network(prepared, CTClassifier(2), run, chosen, None, lines.append, out_of_fold=others)
    record = result.record
    assert record.metrics["valid"]["accuracy"] == 1
    assert record.operating_point is not None
    assert record.operating_point.sensitivity == record.operating_point.specificity == 1
    assert record.novelty is not None
    assert 6 < record.novelty.threshold < 7
    assert record.training["epochs"] == 1
    assert record.training["folds"] == [{"accuracy": 1.0}]
    assert record.ensemble_metrics is not None
    assert record.ensemble_metrics["test"]["accuracy"] == 0
    assert record.ensemble_metrics["test"]["decisions"]["referred"] == 1  # for its novelty of 7, the mean
    assert not any(line.startswith("best epoch") for line in lines)
    without = train_network(
        prepared, CTClassifier(2), run, chosen, None, lines.append, out_of_fold=replace(others, novelty=None)
    )
    assert without.record.novelty is None
    assert "no novelty: it needs more training images, which differ" in lines
