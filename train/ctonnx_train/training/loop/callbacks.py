"""Callbacks after an epoch: log line and row of metrics.csv, best weights, file to resume from."""

import csv
import io
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins import TorchCheckpointIO
from torch import Tensor
from tqdm import tqdm

from ctonnx.errors import DataError
from ctonnx.system.files import atomic_file
from ctonnx.system.text import Log
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.training.loop.distributed import gather, is_main_process
from ctonnx_train.training.loop.lightning_module import ClassificationTask
from ctonnx_train.training.loop.progress import time_left
from ctonnx_train.training.recipe import MONITORS, Monitor, Phase

__all__ = ["BestWeights", "DirectWriting", "EpochLog", "History", "LastCheckpoint"]

_VALID = tuple(f"valid_{name}" for name in MONITORS)
_WRITING_SHARE = 1 / 50


@dataclass
class History:
    """Finished epochs of all phases, at most `planned`, as rows of the file metrics.csv."""

    file: Path
    planned: int
    rows: list[dict[str, Any]] = field(default_factory=list)

    def append(self, row: dict[str, Any]) -> None:
        """Adds an epoch here and in the file, so that another process can follow a long training."""
        self.rows.append(row)
        if not is_main_process():
            return
        with atomic_file(self.file) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, list(row), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)


class EpochLog(pl.Callback):
    """Adds a row to the history and logs a line after each epoch; shows a progress bar on a terminal.

    With the phases of the training and the size of its images, in pixels, the line estimates the remaining time.
    """

    def __init__(self, history: History, log: Log, phases: Sequence[Phase] = (), size: int = 0) -> None:
        self._history = history
        self._log = log
        self._phases = phases
        self._size = size
        self._start = 0.0
        self._batch_end = 0.0
        self._waited = 0.0
        self._rate = 0.0
        self._bar: tqdm[Any] | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the timer and the progress bar of the epoch."""
        self._waited = -_task(pl_module).data_timer.seconds
        self._start = self._batch_end = time.perf_counter()
        description = f"epoch {len(self._history.rows) + 1}/{self._history.planned}"
        disable = None if is_main_process() else True
        total = int(trainer.num_training_batches)
        self._bar = tqdm(total=total, desc=description, unit="batch", leave=False, disable=disable)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *arguments: Any) -> None:
        """Adds the time spent waiting for the batch."""
        self._waited += time.perf_counter() - self._batch_end
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *arguments: Any) -> None:
        """Advances the progress bar; after the last batch, waits for a GPU, which runs the steps later."""
        if pl_module.device.type == "cuda" and trainer.is_last_batch:
            torch.cuda.synchronize(pl_module.device)
        self._batch_end = time.perf_counter()
        if self._bar is not None:
            self._bar.update()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds and logs the epoch, whose validation Lightning has already run."""
        if self._bar is not None:
            self._bar.close()
        task = _task(pl_module)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row: dict[str, Any] = {
            "epoch": len(self._history.rows) + 1,
            "phase": task.phase.name,
            "image_size": task.image_size,
            "learning_rate": float(f"{self._rate:.3g}"),
            "train_loss": round(metrics["train_loss"], 5),
            **{name: round(metrics[name], 5) if math.isfinite(metrics[name]) else None for name in _VALID},
            "seconds": round(time.perf_counter() - self._start, 2),
            "train_seconds": round(self._batch_end - self._start, 3),
            "data_seconds": round(self._waited + task.data_timer.seconds, 3),
        }
        self._history.append(row)
        accuracy = row["valid_accuracy"]
        left = time_left(self._history.rows, self._phases, self._size) if self._phases else ""
        self._log(
            f"epoch {row['epoch']:3}/{self._history.planned}  {row['phase']:9} "
            f"{row['image_size']:4} pixels  train loss {row['train_loss']:.4f}  "
            f"valid loss {metrics['valid_loss']:.4f}  "
            f"valid accuracy {'-' if accuracy is None else format(accuracy, '.3f')}  {row['seconds']:.1f} s"
            f"{left and f', {left}'}"
        )

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Removes the progress bar from the terminal before the error message."""
        if self._bar is not None:
            self._bar.close()


class BestWeights(pl.Callback):
    """Keeps a copy of the weights of the epoch with the best validation metric, across phases; or of the last epoch.

    Attributes:
        monitor: Metric that selects the best epoch.
        value: Best value so far, or None.
        epoch: Number of the best epoch, from 1, or 0 if there is none yet.
        keeps_last: Whether the last epoch with a finite metric is kept instead.
    """

    def __init__(self, history: History, monitor: Monitor = "loss", *, keep_last: bool = False) -> None:
        self._history = history
        self.keeps_last = keep_last
        self._state: dict[str, Tensor] = {}
        self.monitor = monitor
        self.value: float | None = None
        self.epoch = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copies the weights if the metric has improved."""
        value, accuracy = (float(trainer.callback_metrics[f"valid_{name}"]) for name in (self.monitor, "accuracy"))
        if not math.isfinite(value):
            if self.monitor == "loss" or not math.isfinite(accuracy):
                return  # the loss overflowed, or the outputs are NaN: another epoch may be better
            raise DataError(
                f"expected a validation {self.monitor}, found that it is not defined on these validation images: they "
                "are all of one class; choose another --monitor"
            )
        sign = -1 if self.monitor == "loss" else 1
        if self.keeps_last or self.value is None or sign * value > sign * self.value:
            weights = _task(pl_module).network.state_dict()
            state = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
            self._state, self.value, self.epoch = state, value, len(self._history.rows) + 1

    def state_dict(self) -> dict[str, Any]:
        """Returns the state that a resumed training needs."""
        return {"weights": self._state, "value": self.value, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the result of `state_dict`."""
        self._state = {name: tensor.cpu() for name, tensor in state_dict["weights"].items()}
        self.value, self.epoch = state_dict["value"], state_dict["epoch"]

    def restore(self, network: CTClassifier) -> None:
        """Loads the best weights into `network`, and gives it their widths."""
        network.fit_widths(self._state)
        network.load_state_dict(self._state)


class LastCheckpoint(Checkpoint):
    """Writes the file to resume from after an epoch: the full state of the training, and the history.

    Epochs are skipped so that writing takes at most a fiftieth of the training's time. The first epoch of a phase is
    always written. Phases are numbered from 1.
    """

    def __init__(self, file: Path, history: History, phase: int) -> None:
        self._file = file
        self._history = history
        self._phase = phase
        self._ended = False
        self._next = 0.0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the file if it is due."""
        start = time.perf_counter()
        due = bool(gather(start >= self._next)[0])  # the first process's clock decides for all
        if not due:
            return
        self._ended = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        with atomic_file(self._file) if is_main_process() else nullcontext(self._file) as temporary:
            trainer.save_checkpoint(temporary)
        end = time.perf_counter()
        self._next = end + (end - start) / _WRITING_SHARE

    def state_dict(self) -> dict[str, Any]:
        """Returns the phase and the history."""
        return {"phase": self._phase, "phase_ended": self._ended, "history": self._history.rows}


class DirectWriting(TorchCheckpointIO):
    """Writes a checkpoint directly to its path.

    Lightning first writes to the system's folder for temporary files, whose disk may be too small, and then moves the
    file. The path from `LastCheckpoint` is already temporary, and on the run's disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Serializes in memory first, since torch.save raises an unclear RuntimeError if the disk is full."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).write_bytes(buffer.getbuffer())


def _task(module: pl.LightningModule) -> ClassificationTask:
    if not isinstance(module, ClassificationTask):
        raise TypeError(f"expected a ClassificationTask, found {type(module).__name__}")
    return module
