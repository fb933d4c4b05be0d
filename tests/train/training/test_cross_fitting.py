"""Cross-fitting: folds without shared patients, predictions without a network's own images, and a resumed training."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedGroupKFold

from ctonnx.artifacts.run import Run
from ctonnx.errors import DataError
from ctonnx.images import Preprocessing
from ctonnx_train.data.splits import Sample
from ctonnx_train.runs.checkpoint import load_checkpoint
from ctonnx_train.training import cross_fitting
from ctonnx_train.training.cross_fitting import divide, final_phases
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.single_run import TrainResult, train_network
from ctonnx_train.training.train import resume, train

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]

SETTINGS = TrainSettings(
    weights="none", epochs=1, batch_size=4, precision="fp32", folds=3, positive=("b",), coverage=0.8
)
SMALL = Preprocessing(size=32)

pytestmark = pytest.mark.usefixtures("on_the_cpu")


def samples_of(patients: int, slices: int) -> tuple[list[Sample], dict[str, int]]:
    samples = [Sample(f"{patient}/{number}", patient % 2) for patient in range(patients) for number in range(slices)]
    return samples, {sample.path: int(sample.path.partition("/")[0]) for sample in samples}


def test_folds_share_no_patient_and_have_every_class() -> None:
    samples, groups = samples_of(patients=12, slices=5)
    folds = divide(samples, groups, ["a", "b"], 3, seed=0)
    assert sorted(sample for fold in folds for sample in fold) == sorted(samples)
    patients = [{groups[sample.path] for sample in fold} for fold in folds]
    assert all(not one & other for one in patients for other in patients if one is not other)
    assert [Counter(sample.label for sample in fold) for fold in folds] == [{0: 10, 1: 10}] * 3
    assert folds != divide(samples, groups, ["a", "b"], 3, seed=1)


def test_a_class_of_too_few_patients_is_rejected() -> None:
    samples, groups = samples_of(patients=4, slices=5)
    with pytest.raises(DataError, match=r"expected images of 'a' from at least 3 patients .* found 2; lower --folds"):
        divide(samples, groups, ["a", "b"], 3, seed=0)


def test_a_class_that_no_network_of_a_fold_would_learn_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, groups = samples_of(patients=6, slices=1)
    in_one_fold = [[0, 2, 4], [1, 3], [5]]
    monkeypatch.setattr(
        StratifiedGroupKFold, "split", lambda *arguments: [(None, np.array(rows)) for rows in in_one_fold]
    )
    with pytest.raises(DataError, match="found none of 'a' in one"):
        divide(samples, groups, ["a", "b"], 3, seed=0)


def test_the_final_network_is_trained_as_long_as_those_of_the_folds() -> None:
    histories = [(["head"] * 3 + ["fine-tune"] * 9, best) for best in (3, 5, 12)]
    phases = final_phases(TrainSettings(epochs=12), histories)
    assert [(phase.name, phase.epochs, phase.patience) for phase in phases] == [
        ("head", 3, None),
        ("fine-tune", 2, None),
    ]
    only_head = final_phases(TrainSettings(epochs=12), [(["head"] * 4, 2)] * 3)
    assert [(phase.name, phase.epochs) for phase in only_head] == [("head", 2)]
    one_cycle = final_phases(TrainSettings(epochs=12, weights="none"), [(["scratch"] * 12, 7)] * 3)
    assert [(phase.name, phase.epochs) for phase in one_cycle] == [("scratch", 12)]


@pytest.fixture
def scans(images_in: ImagesIn, tmp_path: Path) -> Path:
    return images_in(tmp_path / "scans", {"train/a": 7, "train/b": 7, "valid/a": 2, "valid/b": 2, "test/a": 1})


@pytest.mark.usefixtures("small_backbone", "no_plots")
def test_a_training_in_folds(scans: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    result = train(scans, settings=SETTINGS, preprocessing=SMALL, name="run", root=tmp_path / "runs", log=lines.append)
    run, record = result.run, result.record
    final = load_checkpoint(run)
    folds = [load_checkpoint(Run(run.folder / "folds" / str(number))) for number in (1, 2, 3)]
    everything = set(final.samples("train"))
    assert len(everything) == 18
    assert set(final.samples("valid")) == everything
    predicted: list[Sample] = []
    for number, fold in enumerate(folds):
        train_, valid, test = (set(fold.samples(split)) for split in ("train", "valid", "test"))
        assert train_ | valid | test == everything
        assert len(train_) + len(valid) + len(test) == 18
        assert valid == set(folds[(number + 1) % 3].samples("test"))
        predicted += fold.samples("test")
    assert predicted == list(final.samples("valid"))
    assert len(set(predicted)) == 18
    # The metrics, and what was fitted, are those of the networks that did not learn the images.
    correct = [fold.record.metrics["test"]["accuracy"] * len(fold.samples("test")) for fold in folds]
    assert record.metrics["valid"]["accuracy"] == pytest.approx(sum(correct) / 18)
    assert [fact["images"] for fact in record.training["folds"]] == [6, 6, 6]
    assert record.data["folds"] == 3
    assert record.operating_point is not None
    assert (record.operating_point.positive_images, record.operating_point.negative_images) == (9, 9)
    assert record.operating_point.leaked_images == 0
    assert record.novelty is not None
    assert record.novelty.images == 18
    evaluation = json.loads((run.evaluation_folder / "valid" / "evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["data"]["seen_in_training"]["trained_on"] == 0
    assert not run.plan_file.exists()
    assert [line for line in lines if line.startswith("fold 2 of 3: ") and "images to train on" in line] == [
        "fold 2 of 3: 6 images to train on"
    ]
    assert any(line.startswith("fold 1 of 3 is trained; about ") for line in lines)
    assert "final network: 18 images to train on" in lines


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_a_training_in_folds_goes_on_after_ctrl_c(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finished folds are not trained again, and the end is bit for bit that of an uninterrupted training."""
    whole = train(scans, settings=SETTINGS, preprocessing=SMALL, name="whole", root=tmp_path / "runs")
    trained: list[str] = []

    def stopped(prepared: Any, network: Any, run: Run, *arguments: Any, **options: Any) -> TrainResult:
        trained.append(run.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train_network(prepared, network, run, *arguments, **options)

    for module in ("cross_fitting", "train"):
        monkeypatch.setattr(f"ctonnx_train.training.{module}.train_network", stopped)
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        train(scans, settings=SETTINGS, preprocessing=SMALL, name="cut", root=tmp_path / "runs", log=lines.append)
    run = Run(tmp_path / "runs" / "cut")
    assert lines[-1] == f"the finished epochs are kept; resume with: ctonnx train --resume {run.folder}"
    result = resume(run.folder, log=lines.append)
    assert trained == ["1", "2", "2", "3", "cut"]
    assert "fold 1 of 3 was trained before" in lines
    assert replace(result.record, created="", training={}) == replace(whole.record, created="", training={})
    weights = [load_checkpoint(found).network.state_dict() for found in (run, whole.run)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_a_fold_of_other_images_is_not_used(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a change of the patients, which does not change the images."""

    def stopped(prepared: Any, network: Any, run: Run, *arguments: Any, **options: Any) -> TrainResult:
        if run.name == "2":
            raise KeyboardInterrupt
        return train_network(prepared, network, run, *arguments, **options)

    monkeypatch.setattr("ctonnx_train.training.cross_fitting.train_network", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(scans, settings=SETTINGS, preprocessing=SMALL, name="run", root=tmp_path / "runs")
    divided = cross_fitting.divide
    monkeypatch.setattr(cross_fitting, "divide", lambda *arguments, seed: divided(*arguments, seed=seed + 1))
    with pytest.raises(DataError, match="the patients, or copies of images, have changed since"):
        resume(tmp_path / "runs" / "run")


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_a_training_in_folds_that_fails_at_once_leaves_no_run(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("ctonnx_train.training.single_run.fit", fail)
    with pytest.raises(RuntimeError):
        train(scans, settings=SETTINGS, preprocessing=SMALL, name="none", root=tmp_path / "runs")
    assert not (tmp_path / "runs" / "none").exists()


def test_folds_need_one_process() -> None:
    with pytest.raises(ValueError, match="expected one process to train in folds, found 2"):
        replace(SETTINGS, devices=2)
    with pytest.raises(ValueError, match="expected 3 folds or more, found 2"):
        replace(SETTINGS, folds=2)
