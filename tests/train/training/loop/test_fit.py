"""The phases of a training: log, drawn images, best epoch, Ctrl-C, and options."""

import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ctonnx.artifacts.run import Run
from ctonnx.errors import DataError
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.training.loop.batches import Batch
from ctonnx_train.training.loop.callbacks import EpochLog
from ctonnx_train.training.loop.fit import Fitted, fit
from ctonnx_train.training.loop.lightning_module import ClassificationTask
from ctonnx_train.training.recipe import MONITORS, TrainSettings

Fit = Callable[..., tuple[Fitted, CTClassifier, list[str]]]

pytestmark = pytest.mark.usefixtures("small_backbone", "on_the_cpu")


@pytest.fixture
def trained_on(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The labels of each batch that was trained on."""
    seen: list[list[int]] = []
    step = ClassificationTask.training_step

    def spy(task: ClassificationTask, batch: Batch, batch_index: int) -> Tensor:
        seen.append(batch[1].tolist())
        return step(task, batch, batch_index)

    monkeypatch.setattr(ClassificationTask, "training_step", spy)
    return seen


def validation_is(metrics: list[dict[str, float]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the validation metrics of each epoch; those that are not given are 0.5."""
    left = iter(metrics)

    def validate(task: ClassificationTask) -> None:
        found = dict.fromkeys(MONITORS, 0.5) | next(left)
        task.log_dict({f"valid_{name}": value for name, value in found.items()})

    monkeypatch.setattr(ClassificationTask, "on_validation_epoch_end", validate)


def test_the_settings_are_logged_before_the_epochs(fitted: Fit) -> None:
    result, _, lines = fitted(epochs=2)
    assert lines[:2] == [
        "imbalance: weights in the loss: a 0.75, b 1.5",
        "training on cpu in fp32, 4 images a step, at most 2 epochs",
    ]
    assert [line[:20] for line in lines[2:]] == ["epoch   1/2  scratch", "epoch   2/2  scratch"]
    assert (result.device, result.precision, result.interrupted) == (torch.device("cpu"), "fp32", False)
    assert len(result.history.rows) == 2


def test_the_network_ends_with_the_weights_of_the_best_epoch(fitted: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    validation_is([{"loss": loss} for loss in (0.9, 0.5, 0.7)], monkeypatch)
    result, network, _ = fitted(epochs=3)
    assert result.best.epoch == 2
    assert result.best.value == pytest.approx(0.5)
    kept = result.best.state_dict()["weights"]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("monitor", "best"),
    [("loss", 3), ("accuracy", 1), ("balanced_accuracy", 2), ("macro_auroc", 4), ("macro_f1", 2)],
)
def test_the_best_epoch_is_that_of_the_monitored_metric(
    monitor: str, best: int, fitted: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = [
        {"loss": 0.9, "accuracy": 0.8, "balanced_accuracy": 0.1, "macro_auroc": 0.2, "macro_f1": 0.3},
        {"loss": 0.8, "accuracy": 0.7, "balanced_accuracy": 0.5, "macro_auroc": 0.3, "macro_f1": 0.6},
        {"loss": 0.3, "accuracy": 0.1, "balanced_accuracy": 0.2, "macro_auroc": 0.4, "macro_f1": 0.5},
        {"loss": 0.5, "accuracy": 0.2, "balanced_accuracy": 0.3, "macro_auroc": 0.9, "macro_f1": 0.1},
    ]
    validation_is(epochs, monkeypatch)
    result, _, _ = fitted(epochs=4, monitor=monitor)
    assert (result.best.monitor, result.best.epoch) == (monitor, best)
    assert result.best.value == pytest.approx(epochs[best - 1][monitor])


@pytest.mark.parametrize(("monitor", "factor"), [("loss", 1.0), ("macro_f1", -1.0)])
def test_each_phase_ends_when_the_monitored_metric_gets_no_better(
    monitor: str, factor: float, fitted: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other metric improves in each epoch, but only the monitored one counts.
    other = {"loss": -1.0, "macro_f1": 1.0}
    validation_is(
        [
            {name: (factor if name == monitor else better) * epoch for name, better in other.items()}
            for epoch in range(1, 13)
        ],
        monkeypatch,
    )
    result, _, _ = fitted(weights="w.pth", epochs=12, patience=2, monitor=monitor)
    assert [row["phase"] for row in result.history.rows] == ["head"] * 3 + ["fine-tune"] * 3
    assert result.best.epoch == 1


def test_the_second_phase_starts_from_the_best_weights_of_the_first(
    fitted: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    validation_is([{"loss": loss} for loss in (0.5, 0.9, 0.8, 0.8, 0.8, 0.8)], monkeypatch)
    biases: list[list[float]] = []
    start = ClassificationTask.on_train_epoch_start

    def spy(task: ClassificationTask) -> None:
        biases.append(task.network.head.dense3.bias.tolist())
        start(task)

    monkeypatch.setattr(ClassificationTask, "on_train_epoch_start", spy)
    fitted(weights="w.pth", epochs=6)
    assert len(biases) == 6
    assert biases[2] == biases[1]  # after the best epoch, the first, and not after the second
    assert biases[3] != biases[2]


@pytest.mark.parametrize("weights", ["none", "w.pth"])
def test_a_loss_that_is_never_finite_ends_in_a_sentence(
    weights: str, fitted: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CTClassifier, "features", lambda self, pixels: pixels.float().repeat(1, 256, 1, 1) * np.nan)
    message = (
        "expected a validation loss, found none that is finite in 2 epochs; the initial weights may "
        "be damaged: try others, or --weights none"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        fitted(weights=weights, epochs=2)


def test_a_metric_that_is_not_defined_cannot_select_the_epoch(fitted: Fit) -> None:
    with pytest.raises(DataError, match=r"^expected a validation macro_auroc, found that it is not defined"):
        fitted(valid=(0, 0), monitor="macro_auroc")


def test_the_settings_choose_the_augmentation(fitted: Fit) -> None:
    losses = [
        fitted(augmentation=kind)[0].history.rows[0]["train_loss"]
        for kind in ("acquisition", "acquisition", "standard")
    ]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_the_loss_is_weighted_only_if_imbalance_is_loss(fitted: Fit) -> None:
    losses = {imbalance: fitted(imbalance=imbalance)[0].history.rows[0]["train_loss"] for imbalance in ("loss", "none")}
    assert losses["loss"] != losses["none"]


def test_the_sampler_draws_rare_classes_as_often(fitted: Fit, trained_on: list[list[int]]) -> None:
    _, _, lines = fitted(labels=[0] * 18 + [1] * 2, imbalance="sampler", epochs=12, batch_size=10)
    assert lines[0] == "imbalance: sampling weights: a 0.556, b 5"
    drawn = Counter(label for batch in trained_on for label in batch)
    assert drawn.total() == 240
    assert 90 < drawn[1] < 150


@pytest.mark.parametrize("imbalance", ["none", "loss"])
def test_without_the_sampler_each_image_is_taken_once(imbalance: str, fitted: Fit, trained_on: list[list[int]]) -> None:
    _, _, lines = fitted(labels=[0] * 18 + [1] * 2, imbalance=imbalance, epochs=3, batch_size=10)
    assert Counter(label for batch in trained_on for label in batch) == {0: 54, 1: 6}
    assert any(line.startswith("imbalance") for line in lines) is (imbalance == "loss")


def test_none_neither_weighs_nor_speaks(fitted: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    init = ClassificationTask.__init__

    def spy(task: ClassificationTask, *arguments: Any, **options: Any) -> None:
        given.append(options["class_weights"])
        init(task, *arguments, **options)

    monkeypatch.setattr(ClassificationTask, "__init__", spy)
    for imbalance in ("loss", "sampler", "none"):
        fitted(imbalance=imbalance)
    assert given == [pytest.approx((0.75, 1.5)), None, None]


@pytest.mark.parametrize(
    ("images", "size", "batches"),
    [(5, 2, [2, 2]), (4, 2, [2, 2]), (5, 3, [3, 2]), (9, 4, [4, 4])],
)
def test_a_last_lonely_image_sits_an_epoch_out(
    images: int, size: int, batches: list[int], fitted: Fit, trained_on: list[list[int]]
) -> None:
    fitted(labels=[0, 1] * (images // 2) + [0] * (images % 2), batch_size=size)
    assert [len(batch) for batch in trained_on] == batches


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")  # of Python, on worker processes
def test_images_that_are_decoded_again_are_trained_on_to_the_same_weights(fitted: Fit) -> None:
    _, in_memory, _ = fitted(epochs=2)
    _, decoded, _ = fitted(epochs=2, limit=32 * 32)
    for first, second in zip(in_memory.state_dict().values(), decoded.state_dict().values(), strict=True):
        assert torch.equal(first, second)


def test_the_weights_lie_channels_last(fitted: Fit) -> None:
    _, network, _ = fitted()
    assert network.backbone.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile on the CPU needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_compiled_network_learns_as_the_other_does(fitted: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    compile_it = torch.compile

    def spy(network: Any, **options: Any) -> Any:
        compiled.append(network)
        return compile_it(network, backend="aot_eager", **options)  # the C++ of a convolutional network takes minutes

    monkeypatch.setattr("torch.compile", spy)
    plain, _, _ = fitted()
    assert compiled == []
    fast, network, _ = fitted(compile=True)
    assert compiled == [network]
    assert fast.history.rows[0]["train_loss"] == pytest.approx(plain.history.rows[0]["train_loss"], rel=1e-3)
    assert set(network.state_dict()) == set(CTClassifier(2).state_dict())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard's own imports
def test_tensorboards_files_are_written_on_request_for_each_phase(fitted: Fit, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    fitted(weights="w.pth", epochs=2)
    assert not (tmp_path / "tensorboard").exists()
    fitted(weights="w.pth", epochs=2, tensorboard=True)
    files = [file.relative_to(tmp_path / "tensorboard").parts for file in tmp_path.rglob("events.out.*")]
    assert sorted(parts[0] for parts in files) == ["fine-tune", "head"]
    events = (tmp_path / "tensorboard" / "head" / next(parts[1] for parts in files if parts[0] == "head")).read_bytes()
    assert b"valid_loss" in events
    assert b"train_loss" in events


def test_without_tensorboard_the_extra_is_named(fitted: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctonnx_train.training.loop.fit.find_spec", lambda name: None)
    message = 'expected the package tensorboard, found none; pip install "ctonnx[tensorboard]"'
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        fitted(tensorboard=True)


@pytest.mark.parametrize(
    ("weights", "epoch", "kept"), [("none", 1, 0), ("none", 2, 1), ("w.pth", 2, 1), ("w.pth", 3, 2)]
)
def test_ctrl_c_ends_with_the_best_of_the_epochs_that_were_finished_if_there_are_any(
    weights: str,
    epoch: int,
    kept: int,
    fitted: Fit,
    own_handler: Callable[[int, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step, begun = ClassificationTask.training_step, list[int]()

    def interrupted(task: ClassificationTask, batch: Batch, batch_index: int) -> Tensor:
        begun.extend([1] * (batch_index == 0))
        if len(begun) == epoch and batch_index == 1:
            signal.raise_signal(signal.SIGINT)
        return step(task, batch, batch_index)

    monkeypatch.setattr(ClassificationTask, "training_step", interrupted)
    if kept:
        result, network, _ = fitted(weights=weights, epochs=5)
        assert result.interrupted
        assert len(result.history.rows) == kept
        weights_kept = result.best.state_dict()["weights"]
        assert all(torch.equal(tensor, weights_kept[name]) for name, tensor in network.state_dict().items())
    else:
        with pytest.raises(KeyboardInterrupt):
            fitted(weights=weights, epochs=5)
    assert signal.getsignal(signal.SIGINT) is own_handler


@pytest.mark.parametrize("monitor", ["loss", "macro_f1"])
def test_an_epoch_that_is_not_finite_is_one_without_progress(
    monitor: str, fitted: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: dict[str, float] = {name: float("nan") for name in MONITORS}
    better = {"loss": 0.1, "macro_f1": 0.9}
    validation_is([{}, broken, better, broken, broken, broken], monkeypatch)
    result, _, _ = fitted(epochs=6, patience=2, monitor=monitor, weights="w.pth")
    assert result.best.epoch == 3
    assert [row["valid_loss"] for row in result.history.rows[:3]] == [0.5, None, 0.1]
    assert result.history.rows[1]["valid_accuracy"] is None


def test_ctrl_c_between_an_epochs_validation_and_its_row_is_ctrl_c_before_an_epoch_ended(
    fitted: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(log: EpochLog, trainer: Any, pl_module: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(EpochLog, "on_train_epoch_end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted(epochs=3)
    assert list(tmp_path.iterdir()) == []


def test_the_file_to_resume_from_needs_no_room_on_another_disk(
    fitted: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    fitted()
    assert (tmp_path / "last.ckpt").is_file()


def test_a_compiled_network_sees_batches_of_one_size(
    fitted: Fit, trained_on: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.compile", lambda network, **options: network)
    fitted(labels=[0, 1] * 5, compile=True)
    assert [len(batch) for batch in trained_on] == [4, 4]
    trained_on.clear()
    fitted(labels=[0, 1, 0], compile=True)  # the only batch is not left out
    assert [len(batch) for batch in trained_on] == [3]


def test_a_training_prints_nothing_and_warns_of_nothing(fitted: Fit, capfd: pytest.CaptureFixture[str]) -> None:
    fitted(weights="w.pth", epochs=2)
    assert capfd.readouterr() == ("", "")
    assert os.environ.get("LOCAL_RANK") is None


@pytest.mark.parametrize("reuse_memory", [False, True])
def test_freed_memory_is_kept_only_if_asked_for(
    reuse_memory: bool, dataset_of: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []
    monkeypatch.setattr("ctonnx_train.training.loop.fit.keep_freed_memory", lambda: kept.append(True))
    images = dataset_of(np.zeros((2, 32, 32, 1), np.uint8), [0, 1])
    settings = TrainSettings(weights="none", precision="fp16")  # ends the training on a CPU before its first step
    with pytest.raises(DataError, match=r"needs a GPU$"):
        fit(CTClassifier(2), images, images, [0, 1], "ab", settings, Run(tmp_path), reuse_memory=reuse_memory)
    assert kept == [True] * reuse_memory
