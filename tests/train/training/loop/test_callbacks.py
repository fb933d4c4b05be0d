"""Callbacks of an epoch: metrics.csv, the line on the terminal, the best weights, the file to resume from."""

import csv
import errno
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ctonnx.errors import DataError
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.training.loop.augmentation import Augmentation
from ctonnx_train.training.loop.batches import Batch, batches
from ctonnx_train.training.loop.callbacks import BestWeights, EpochLog, History, LastCheckpoint
from ctonnx_train.training.loop.lightning_module import ClassificationTask
from ctonnx_train.training.recipe import MONITORS, Monitor, TrainSettings, plan

pytestmark = [
    pytest.mark.usefixtures("small_backbone"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),  # the images are in memory
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # Lightning's use of a torch newer than itself
    pytest.mark.filterwarnings("ignore:.*in eval mode at the start of training.*"),  # the frozen stages
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory.*exists and is not empty.*"),
]

HEADER = (
    "epoch,phase,image_size,learning_rate,train_loss,valid_loss,valid_accuracy,valid_balanced_accuracy,"
    "valid_macro_auroc,valid_macro_f1,seconds,train_seconds,data_seconds"
)
HEAD, FINE_TUNE = plan(TrainSettings(epochs=2))
NAN = float("nan")


def row(epoch: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "phase": "head",
        "image_size": 64,
        "learning_rate": 0.0001,
        "train_loss": 0.7,
        "valid_loss": 0.69315,
        "valid_accuracy": 0.5,
        "valid_balanced_accuracy": 0.25,
        "valid_macro_auroc": None,
        "valid_macro_f1": 0.4,
        "seconds": 1.25,
        "train_seconds": 1.125,
        "data_seconds": 0.015,
    }


def test_the_file_is_whole_after_each_epoch(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv", planned=2)
    history.append(row(1))
    first = "1,head,64,0.0001,0.7,0.69315,0.5,0.25,,0.4,1.25,1.125,0.015"
    assert history.file.read_text(encoding="utf-8").splitlines() == [HEADER, first]
    history.append(row(2))
    assert history.file.read_text(encoding="utf-8").splitlines() == [HEADER, first, first.replace("1,", "2,", 1)]
    assert history.rows == [row(1), row(2)]


def test_rows_that_cannot_be_written_leave_those_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(writer: object, rows: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    history = History(tmp_path / "metrics.csv", planned=2)
    history.append(row(1))
    before = history.file.read_bytes()
    monkeypatch.setattr("csv.DictWriter.writerows", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        history.append(row(2))
    assert caught.value.filename == str(history.file)
    assert history.file.read_bytes() == before
    assert os.listdir(tmp_path) == ["metrics.csv"]


def test_only_the_main_process_writes_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    history = History(tmp_path / "metrics.csv", planned=2)
    history.append(row(1))
    assert history.rows == [row(1)]
    assert not history.file.exists()


@pytest.fixture
def four_images(dataset_of: Callable[..., Any]) -> DataLoader[Batch]:
    """Two batches of two images of two classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1), dtype=np.uint8)
    return batches(dataset_of(pixels, [0, 1, 0, 1]), 2, range(4), on_gpu=False, drop_last=False)


def trainer_of(epochs: int, *callbacks: pl.Callback) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def test_a_training_writes_a_row_and_logs_a_line_for_each_epoch(four_images: DataLoader[Batch], tmp_path: Path) -> None:
    history, lines, seen = History(tmp_path / "metrics.csv", planned=5), list[str](), list[int]()

    def log(line: str) -> None:
        lines.append(line)
        seen.append(len(history.file.read_text(encoding="utf-8").splitlines()))

    history.append(row(1))  # of an earlier phase
    best = BestWeights(history)
    last = LastCheckpoint(tmp_path / "last.ckpt", history, 1)
    torch.manual_seed(0)
    task = ClassificationTask(CTClassifier(2), HEAD, augmentation=Augmentation())
    trainer_of(2, EpochLog(history, log), best, last).fit(task, four_images, four_images)
    assert [(one["epoch"], one["phase"], one["image_size"], one["learning_rate"]) for one in history.rows] == [
        (1, "head", 64, 0.0001),
        (2, "head", 32, 0.0001),
        (3, "head", 32, 0.0001),
    ]
    for line, one in zip(lines, history.rows[1:], strict=True):
        assert line == (
            f"epoch   {one['epoch']}/5  head        {one['image_size']} pixels  train loss {one['train_loss']:.4f}  "
            f"valid loss {one['valid_loss']:.4f}  valid accuracy {one['valid_accuracy']:.3f}  {one['seconds']:.1f} s"
        )
        assert None not in one.values()
        assert 0 < one["data_seconds"] <= one["train_seconds"] <= one["seconds"] + 0.01
    assert seen == [3, 4]
    values = {one["epoch"]: one["valid_loss"] for one in history.rows[1:]}
    assert best.value is not None
    assert (best.epoch, round(best.value, 5)) == min(values.items(), key=lambda pair: pair[1])


def test_a_line_has_the_remaining_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0)
    monkeypatch.setattr("ctonnx_train.training.loop.callbacks.time", clock)
    history, lines = History(tmp_path / "metrics.csv", planned=3), list[str]()
    log = EpochLog(history, lines.append, [replace(HEAD, epochs=3, patience=None)], 64)
    metrics = dict.fromkeys(["train_loss", *(f"valid_{name}" for name in MONITORS)], torch.tensor(0.5))
    trainer = cast("pl.Trainer", SimpleNamespace(callback_metrics=metrics, num_training_batches=1))
    task = ClassificationTask(CTClassifier(2), HEAD)
    task.image_size = 64
    for _ in range(3):
        log.on_train_epoch_start(trainer, task)
        clock.now += 40
        log.on_train_epoch_end(trainer, task)
    expected = ["40.0 s, about 2 min left", "40.0 s, about 40 s left", "40.0 s"]
    assert [line.partition("0.500  ")[2] for line in lines] == expected


def test_an_epoch_without_a_finite_loss_is_logged_and_its_fields_are_empty(tmp_path: Path) -> None:
    history, lines = History(tmp_path / "metrics.csv", planned=1), list[str]()
    log = EpochLog(history, lines.append)
    metrics = dict.fromkeys(["train_loss", *(f"valid_{name}" for name in MONITORS)], torch.tensor(float("nan")))
    trainer = SimpleNamespace(callback_metrics=metrics, num_training_batches=1)
    task = ClassificationTask(CTClassifier(2), HEAD)
    log.on_train_epoch_start(cast("pl.Trainer", trainer), task)
    log.on_train_epoch_end(cast("pl.Trainer", trainer), task)
    assert lines == ["epoch   1/1  head         0 pixels  train loss nan  valid loss nan  valid accuracy -  0.0 s"]
    assert history.file.read_text(encoding="utf-8").splitlines()[1].startswith("1,head,0,0.0,nan,,,,,,")


@pytest.mark.parametrize(("rank", "shown"), [("0", True), ("1", False)])
def test_a_bar_runs_on_a_terminal_in_the_main_process_and_is_taken_away_by_an_error(
    rank: str, shown: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    log = EpochLog(History(tmp_path / "metrics.csv", planned=3), lambda line: None)
    trainer = cast("pl.Trainer", SimpleNamespace(num_training_batches=7))
    task = ClassificationTask(CTClassifier(2), HEAD)
    log.on_train_epoch_start(trainer, task)
    log.on_exception(trainer, task, RuntimeError())
    written = capsys.readouterr().err
    assert ("epoch 1/3:   0%" in written) is shown
    assert ("0/7" in written) is shown
    assert written.rpartition("\r")[2] == ""


def test_another_module_than_a_task_is_rejected(tmp_path: Path) -> None:
    log = EpochLog(History(tmp_path / "metrics.csv", planned=1), lambda line: None)
    with pytest.raises(TypeError, match=r"^expected a ClassificationTask, found LightningModule$"):
        log.on_train_epoch_end(cast("pl.Trainer", None), pl.LightningModule())


def validate(
    task: ClassificationTask, best: BestWeights, history: History, values: list[float], accuracy: float = 0.5
) -> None:
    """Validates an epoch with each value, and marks the weights and the statistics of each with its number."""
    for value in values:
        number = len(history.rows) + 1.0
        task.network.head.dense3.bias.data.fill_(number)
        task.network.backbone.bn1.running_mean.fill_(number)
        metrics = {"valid_accuracy": torch.tensor(accuracy), f"valid_{best.monitor}": torch.tensor(value)}
        trainer = SimpleNamespace(callback_metrics=metrics)
        best.on_validation_end(cast("pl.Trainer", trainer), task)
        history.rows.append({})


@pytest.mark.parametrize(
    ("monitor", "values", "epoch"),
    [
        ("loss", [0.5], 1),
        ("loss", [0.5, 0.25, 0.75], 2),
        ("loss", [0.5, 0.5], 1),
        ("loss", [NAN, 0.5, NAN], 2),
        ("loss", [float("inf"), 0.5], 2),
        ("accuracy", [0.5, 0.25, 0.75], 3),
        ("balanced_accuracy", [0.75, 0.75], 1),
        ("macro_auroc", [0.5, 0.75, 0.25], 2),
        ("macro_f1", [0.0, 0.0], 1),
    ],
)
def test_the_best_epochs_weights_and_statistics_come_back(
    monitor: Monitor, values: list[float], epoch: int, tmp_path: Path
) -> None:
    history = History(tmp_path / "metrics.csv", planned=len(values))
    best = BestWeights(history, monitor)
    task = ClassificationTask(CTClassifier(2), HEAD)
    validate(task, best, history, values)
    assert (best.epoch, best.value) == (epoch, values[epoch - 1])
    best.restore(task.network)
    assert task.network.head.dense3.bias.tolist() == [epoch, epoch]
    assert set(task.network.backbone.bn1.running_mean.tolist()) == {epoch}


def test_the_best_epoch_of_an_earlier_phase_stays_the_best(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv", planned=4)
    best = BestWeights(history)
    network = CTClassifier(2)
    validate(ClassificationTask(network, HEAD), best, history, [0.5, 0.25])
    validate(ClassificationTask(network, FINE_TUNE), best, history, [0.75, 0.5])
    assert (best.epoch, best.value) == (2, 0.25)
    best.restore(network)
    assert network.head.dense3.bias.tolist() == [2, 2]


def test_the_best_weights_go_through_their_state(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv", planned=2)
    best, again = BestWeights(history), BestWeights(history)
    task = ClassificationTask(CTClassifier(2), HEAD)
    validate(task, best, history, [0.25, 0.5])
    again.load_state_dict(best.state_dict())
    assert (again.epoch, again.value) == (1, 0.25)
    again.restore(task.network)
    assert task.network.head.dense3.bias.tolist() == [1, 1]


def test_a_metric_that_the_validation_images_do_not_define_is_rejected(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv", planned=1)
    message = (
        "expected a validation macro_auroc, found that it is not defined on these validation images: they are all "
        "of one class; choose another --monitor"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        validate(ClassificationTask(CTClassifier(2), HEAD), BestWeights(history, "macro_auroc"), history, [NAN])


def test_outputs_that_are_not_finite_do_not_reject_a_metric(tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv", planned=1)
    best = BestWeights(history, "macro_auroc")
    validate(ClassificationTask(CTClassifier(2), HEAD), best, history, [NAN], accuracy=NAN)
    assert (best.epoch, best.value) == (0, None)


def test_an_interrupt_while_the_weights_are_copied_leaves_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(network: CTClassifier) -> None:
        raise KeyboardInterrupt

    history = History(tmp_path / "metrics.csv", planned=2)
    best, task = BestWeights(history), ClassificationTask(CTClassifier(2), HEAD)
    validate(task, best, history, [0.5])
    with monkeypatch.context() as patch:
        patch.setattr(CTClassifier, "state_dict", interrupted)
        with pytest.raises(KeyboardInterrupt):
            validate(task, best, history, [0.25])
    assert (best.epoch, best.value) == (1, 0.5)
    best.restore(task.network)
    assert task.network.head.dense3.bias.tolist() == [1, 1]


def test_an_epoch_that_is_not_finite_after_one_that_was_has_empty_fields(
    four_images: DataLoader[Batch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, history = CTClassifier.forward, History(tmp_path / "metrics.csv", planned=2)

    class Break(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch:
                monkeypatch.setattr(CTClassifier, "forward", lambda self, pixels: forward(self, pixels) * NAN)

    best = BestWeights(history)
    last = LastCheckpoint(tmp_path / "last.ckpt", history, 1)
    trainer = trainer_of(2, EpochLog(history, lambda line: None), best, last, Break())
    trainer.fit(ClassificationTask(CTClassifier(2), HEAD), four_images, four_images)
    names = [f"valid_{name}" for name in MONITORS]
    first, second = ([one[name] for name in names] for one in history.rows)
    assert None not in first
    assert second == [None] * len(MONITORS)
    with history.file.open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))[1]
    assert [written[name] for name in names] == [""] * len(MONITORS)
    assert best.epoch == 1


class Clock:
    """A clock on which an epoch takes one second and writing takes `writing`."""

    def __init__(self, writing: float) -> None:
        self.now = 100.0
        self.writing = writing
        self.written: list[int] = []

    def perf_counter(self) -> float:
        return self.now


def written_epochs(clock: Clock, epochs: int, file: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns after which of the epochs the file was written."""
    monkeypatch.setattr("ctonnx_train.training.loop.callbacks.time", clock)
    last = LastCheckpoint(file, History(file.with_name("metrics.csv"), planned=epochs), 1)
    trainer = SimpleNamespace(should_stop=False, max_epochs=epochs, current_epoch=0)

    def save(path: Path) -> None:
        path.write_text(str(trainer.current_epoch), encoding="utf-8")
        clock.now += clock.writing
        clock.written.append(trainer.current_epoch + 1)

    trainer.save_checkpoint = save
    for trainer.current_epoch in range(epochs):
        clock.now += 1
        last.on_train_epoch_end(cast("pl.Trainer", trainer), cast("pl.LightningModule", None))
    return clock.written


@pytest.mark.parametrize(
    ("writing", "written"),
    [(0.01, [1, 2, 3, 4, 5, 6, 7, 8]), (0.035, [1, 3, 5, 7]), (0.055, [1, 4, 7]), (10.0, [1])],
)
def test_writing_takes_a_fiftieth_of_the_time_and_the_first_epoch_is_always_written(
    writing: float, written: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert written_epochs(Clock(writing), 8, tmp_path / "last.ckpt", monkeypatch) == written


def test_a_failed_writing_leaves_the_file_before_it_and_nothing_beside_it(
    four_images: DataLoader[Batch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "last.ckpt"
    file.write_text("of an epoch before", encoding="utf-8")

    def full(trainer: pl.Trainer, path: Path) -> None:
        path.write_text("half", encoding="utf-8")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", full)
    history = History(tmp_path / "metrics.csv", planned=1)
    trainer = trainer_of(1, LastCheckpoint(file, history, 1))
    with pytest.raises(OSError, match="No space left on device"):
        trainer.fit(ClassificationTask(CTClassifier(2), HEAD), four_images, four_images)
    assert [(name, (tmp_path / name).read_text(encoding="utf-8")) for name in os.listdir(tmp_path)] == [
        ("last.ckpt", "of an epoch before")
    ]


@pytest.mark.parametrize(("epochs", "stop", "ended"), [(1, False, True), (2, False, False), (2, True, True)])
def test_the_file_has_the_phase_and_the_history(
    epochs: int, stop: bool, ended: bool, four_images: DataLoader[Batch], tmp_path: Path
) -> None:
    history = History(tmp_path / "metrics.csv", planned=3, rows=[row(1)])
    last = LastCheckpoint(tmp_path / "last.ckpt", history, 2)
    trainer = trainer_of(epochs, EpochLog(history, lambda line: None), BestWeights(history), last)

    class Stop(pl.Callback):
        def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.should_stop = stop

    trainer.callbacks.insert(0, Stop())  # type: ignore[attr-defined]  # a property that Lightning adds
    trainer.fit(ClassificationTask(CTClassifier(2), FINE_TUNE), four_images, four_images)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert state["epoch"] == 0
    assert state["callbacks"]["LastCheckpoint"] == {"phase": 2, "phase_ended": ended, "history": history.rows[:2]}
    assert state["callbacks"]["BestWeights"]["epoch"] == 2
    assert {name.partition(".")[0] for name in state["state_dict"]} == {"network"}
