"""Training from end to end on a few small images: the run's folder and its repetition."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.special import softmax
from torch import Tensor

from ctonnx.artifacts.run import Run
from ctonnx.images import Preprocessing
from ctonnx_train.data.image_folder import read_data
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.data.sources import FolderSource
from ctonnx_train.evaluation.fitting.threshold import suspicious_metrics
from ctonnx_train.evaluation.statistics.metrics import evaluate
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.inference import predict_logits
from ctonnx_train.runs.checkpoint import load_checkpoint
from ctonnx_train.training.loop.callbacks import BestWeights
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.single_run import TrainResult
from ctonnx_train.training.train import train

RowsOf: TypeAlias = Callable[[Run], list[dict[str, str]]]
FilesIn: TypeAlias = Callable[[Path], list[str]]

SMALL = Preprocessing(size=32)
QUICK = TrainSettings(weights="none", epochs=1, batch_size=4, precision="fp32")

pytestmark = pytest.mark.usefixtures("on_the_cpu")


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """Log of the training below."""
    return []


@pytest.fixture(scope="module")
def result(
    data: Path, lines: list[str], tmp_path_factory: pytest.TempPathFactory, on_the_cpu: None
) -> Iterator[TrainResult]:
    """A ResNet50 trained from scratch for two epochs."""
    root = tmp_path_factory.mktemp("work") / "runs"
    chosen = replace(QUICK, epochs=2, positive=("b",), sensitivity=0.5, coverage=0.8)
    made = train(data, settings=chosen, preprocessing=SMALL, name="first", root=root, log=lines.append)
    yield made
    made.run.weights_file.unlink()


def test_a_runs_folder_has_weights_record_splits_metrics_curves_and_an_evaluation_of_each_split(
    result: TrainResult,
    files_in: FilesIn,
) -> None:
    reports = ("confusion.png", "evaluation.json", "reliability.png", "report.md", "risk.png", "roc.png")
    assert files_in(result.run.folder) == [
        "curves.png",
        *(f"evaluation/test/{name}" for name in reports),
        *(f"evaluation/valid/{name}" for name in reports),
        "metrics.csv",
        "model.safetensors",
        "novelty.safetensors",
        "run.json",
        "splits.json",
    ]
    assert result.run.name == "first"
    assert not result.interrupted


def test_the_record_has_the_data_the_settings_and_the_training(
    result: TrainResult, data: Path, rows_of: RowsOf
) -> None:
    record = result.record
    assert load_checkpoint(result.run).record == record
    assert datetime.fromisoformat(record.created) <= datetime.now(UTC)
    assert record.classes == ("a", "b")
    assert record.folder_classes == {"a": "a", "b": "b", "B cases": "b"}
    assert record.preprocessing == SMALL
    assert re.fullmatch("[0-9a-f]{64}", record.data["fingerprint"])
    assert {**record.data, "fingerprint": ""} == {
        "folder": str(data),
        "name": "scans",
        "fingerprint": "",
        "images": {"train": {"a": 5, "b": 5}, "valid": {"a": 2, "b": 2}, "test": {"a": 2, "b": 0}},
        "leaks": {
            "groups": 0,
            "files": 0,
            "groups_across_splits": 0,
            "files_across_splits": 0,
            "groups_with_several_labels": 0,
            "files_with_several_labels": 0,
            "leaked": {"valid": 0, "test": 0},
            "dropped": {},
        },
        "labels": None,
        "patients": None,
    }
    assert not record.synthetic
    assert record.settings == {
        "weights": "none",
        "epochs": 2,
        "batch_size": 4,
        "seed": 0,
        "precision": "fp32",
        "unfreeze_from": "layer4",
        "patience": 6,
        "monitor": "loss",
        "imbalance": "loss",
        "augmentation": "acquisition",
        "drop_leaks": False,
        "group_regex": None,
        "cache_gb": 8.0,
        "full_size": False,
        "compile": False,
        "folds": None,
        "devices": 1,
        "nodes": 1,
        "tensorboard": False,
        "positive": ["b"],
        "sensitivity": 0.5,
        "coverage": 0.8,
        "aggregate": "auto",
        "top_k": None,
        "novelty_quantile": 0.95,
        "threads": None,
    }
    best = min(rows_of(result.run), key=lambda row: float(row["valid_loss"]))
    training = dict(record.training)
    for name in ("seconds", "seconds_per_epoch", "data_share"):
        assert training.pop(name) > 0
    seconds = [
        [float(row[name]) for name in ("seconds", "train_seconds", "data_seconds")] for row in rows_of(result.run)
    ]
    whole, steps, on_data = map(sum, zip(*seconds, strict=True))
    assert steps < whole
    assert record.training["data_share"] == pytest.approx(on_data / steps, abs=1e-3)
    assert record.training["seconds_per_epoch"] == pytest.approx(whole / 2, abs=0.01)
    assert training == {
        "epochs": 2,
        "interrupted": False,
        "best_epoch": int(best["epoch"]),
        "best_by": "loss",
        "best_value": pytest.approx(float(best["valid_loss"]), abs=1e-5),
        "precision": "fp32",
        "device": "cpu",
        "images_in_memory": 16,
    }
    assert list(record.versions) == ["ctonnx", "torch", "torchvision", "lightning", "scikit-learn", "numpy", "pillow"]
    assert record.operating_point is not None
    assert (record.operating_point.positive, record.operating_point.target_sensitivity) == (("b",), 0.5)


def test_the_record_is_strict_json(result: TrainResult) -> None:
    def reject(constant: str) -> None:
        raise ValueError(constant)

    for file in (result.run.record_file, result.run.evaluation_folder / "test" / "evaluation.json"):
        document = json.loads(file.read_text(encoding="utf-8"), parse_constant=reject)
        test_metrics = document["metrics"].get("test", document["metrics"])
        assert test_metrics["per_class"]["b"]["sensitivity"] is None


def test_a_row_is_written_for_each_epoch(result: TrainResult, rows_of: RowsOf) -> None:
    assert [(row["epoch"], row["phase"]) for row in rows_of(result.run)] == [("1", "scratch"), ("2", "scratch")]


def test_progress_is_logged_in_lines(result: TrainResult, lines: list[str]) -> None:
    training = result.record.training
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert [line[:20] for line in epochs] == ["epoch   1/2  scratch", "epoch   2/2  scratch"]
    others = [line for line in lines if line not in epochs]
    assert others[:-1] == [
        "class folder 'B cases' is read as 'b'",
        "skipped: 1 other file ('train/a/notes.txt' first)",
        "train: 10 images (a 5, b 5)",
        "valid: 4 images (a 2, b 2)",
        "test: 2 images (a 2, b 0)",
        "imbalance: weights in the loss: a 1, b 1",
        "training on cpu in fp32, 4 images a step, at most 2 epochs",
        f"best epoch: {training['best_epoch']} (valid loss {training['best_value']:.4f})",
    ]
    assert re.fullmatch(
        rf"temperature {result.record.temperature:.3f}: negative log-likelihood on the validation images "
        r"\d+\.\d{4} -> \d+\.\d{4}",
        others[-1],
    )


@pytest.mark.parametrize("split", ["valid", "test"])
def test_the_metrics_are_those_of_the_saved_checkpoint_at_its_temperature(
    split: Any, result: TrainResult, data: Path
) -> None:
    checkpoint = load_checkpoint(result.run)
    samples = checkpoint.samples(split)
    assert samples == read_data(data).splits[split]
    store = PixelStore(FolderSource(data), samples, checkpoint.record.preprocessing)
    logits = predict_logits(checkpoint.network, store, range(len(samples)), device=torch.device("cpu"))
    probabilities = softmax(logits.astype(np.float64) / checkpoint.record.temperature, axis=1)
    metrics = evaluate(probabilities, [sample.label for sample in samples], checkpoint.record.classes)
    recorded = result.record.metrics[split]
    for name in ("images", "accuracy", "balanced_accuracy", "confusion_matrix"):
        assert metrics[name] == recorded[name]
    assert recorded["bootstrap"]["unit"] == "image"
    labels = np.array([sample.label for sample in samples])
    point = checkpoint.record.operating_point
    assert recorded["suspicious"] == suspicious_metrics(point, probabilities, labels, checkpoint.record.classes)
    assert metrics["ece"] == pytest.approx(recorded["ece"], abs=1e-5)  # the weights have another memory layout
    written = json.loads((result.run.evaluation_folder / split / "evaluation.json").read_text(encoding="utf-8"))
    assert written["metrics"]["accuracy"] == metrics["accuracy"]


@pytest.mark.usefixtures("no_reports")
def test_the_same_seed_gives_the_same_bytes(result: TrainResult, data: Path, tmp_path: Path, rows_of: RowsOf) -> None:
    again = train(data, settings=replace(QUICK, epochs=2), preprocessing=SMALL, name="again", root=tmp_path)
    assert again.run.weights_file.read_bytes() == result.run.weights_file.read_bytes()
    assert again.run.splits_file.read_bytes() == result.run.splits_file.read_bytes()
    timeless = [
        [{**row, "seconds": "", "train_seconds": "", "data_seconds": ""} for row in rows_of(one.run)]
        for one in (result, again)
    ]
    assert timeless[0] == timeless[1]
    again.run.weights_file.unlink()


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_another_seed_gives_other_weights(data: Path, tmp_path: Path) -> None:
    runs = [
        train(data, settings=replace(QUICK, seed=seed), preprocessing=SMALL, name=str(seed), root=tmp_path).run
        for seed in (0, 1)
    ]
    first, second = (load_file(run.weights_file)["head.dense3.bias"] for run in runs)
    assert not torch.equal(first, second)


@pytest.mark.usefixtures("no_reports")
def test_from_a_file_the_head_learns_on_a_backbone_that_is_left_alone_and_then_layer4(
    result: TrainResult, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_of: RowsOf
) -> None:
    learned: list[dict[str, Tensor]] = []
    end = BestWeights.on_validation_end

    def spy(best: BestWeights, trainer: pl.Trainer, task: Any) -> None:
        learned.append({name: tensor.detach().clone() for name, tensor in task.network.state_dict().items()})
        end(best, trainer, task)

    monkeypatch.setattr(BestWeights, "on_validation_end", spy)
    start = load_file(result.run.weights_file)
    chosen = replace(QUICK, weights=str(result.run.weights_file), epochs=2)
    made = train(data, settings=chosen, preprocessing=SMALL, name="tuned", root=tmp_path)

    def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
        names = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
        return {".".join(name.split(".")[: 2 if name.startswith("backbone") else 1]) for name in names}

    assert [(row["epoch"], row["phase"], row["learning_rate"]) for row in rows_of(made.run)] == [
        ("1", "head", "0.0001"),
        ("2", "fine-tune", "1e-05"),
    ]
    after_head, after_fine_tune = learned
    assert changed(start, after_head) == {"head"}
    assert changed(after_head, after_fine_tune) == {"backbone.layer4", "head"}
    made.run.weights_file.unlink()


@pytest.fixture
def pretrained(monkeypatch: pytest.MonkeyPatch, small_backbone: None) -> None:
    """Uses the random weights of a small network as pretrained ones."""
    monkeypatch.setattr("ctonnx_train.training.train.load_backbone", lambda network, weights: None)


@pytest.mark.usefixtures("pretrained")
def test_a_training_in_two_phases_warns_of_nothing_and_prints_nothing(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(data, settings=replace(QUICK, weights="imagenet", epochs=2), preprocessing=SMALL, name="run", root=tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("small_backbone", "no_reports")
def test_training_sees_changed_images_and_validation_the_images_themselves(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[bytes]] = {"training": set(), "validation": set()}
    forward = CTClassifier.forward

    def spy(network: CTClassifier, pixels: Tensor) -> Tensor:
        name = "training" if network.training else "validation"
        seen[name].update(image.round().byte().numpy().tobytes() for image in pixels)
        return forward(network, pixels)

    monkeypatch.setattr(CTClassifier, "forward", spy)
    train(data, settings=QUICK, preprocessing=SMALL, name="run", root=tmp_path)
    found = read_data(data)
    store = PixelStore(FolderSource(data), found.samples, SMALL)
    images = [image.tobytes() for image in store.take(range(len(store)))]
    assert len(seen["training"]) == 10
    assert not seen["training"] & set(images)
    assert seen["validation"] == set(images[10:])  # and the test images, once at the end
