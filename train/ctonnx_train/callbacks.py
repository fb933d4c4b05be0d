"""What happens around an epoch: its line on the terminal and in metrics.csv, and the best weights kept."""

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor
from tqdm import tqdm

from ctonnx_train.task import ClassificationTask

__all__ = ["BestWeights", "EpochLog", "History"]

_COLUMNS = ("epoch", "phase", "learning_rate", "train_loss", "valid_loss", "valid_accuracy", "seconds")


@dataclass
class History:
    """The epochs of all phases so far.

    Attributes:
        file: metrics.csv, which holds the rows.
        planned: how many epochs there will be at most.
        rows: one for each epoch that ended.
    """

    file: Path
    planned: int
    rows: list[dict[str, Any]] = field(default_factory=list)

    def append(self, row: dict[str, Any]) -> None:
        """Adds an epoch, here and in the file, so that a long training can be followed from outside."""
        self.rows.append(row)
        with self.file.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, _COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)


class EpochLog(pl.Callback):
    """Adds a row to the history after each epoch, and says it in a line; a bar runs below it on a terminal.

    Args:
        history: added to.
        say: called with the line.
    """

    def __init__(self, history: History, say: Callable[[str], None]) -> None:
        self._history = history
        self._say = say
        self._start = 0.0
        self._bar: tqdm[Any] | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the epoch's clock and bar."""
        self._start = time.perf_counter()
        description = f"epoch {len(self._history.rows) + 1}/{self._history.planned}"
        total = int(trainer.num_training_batches)
        self._bar = tqdm(total=total, desc=description, unit="batch", leave=False, disable=None)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *arguments: Any) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Notes the epoch; Lightning has run its validation by now."""
        if self._bar is not None:
            self._bar.close()
        if not isinstance(pl_module, ClassificationTask):
            raise TypeError(f"expected a ClassificationTask, found {type(pl_module).__name__}")
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row: dict[str, Any] = {
            "epoch": len(self._history.rows) + 1,
            "phase": pl_module.phase.name,
            "learning_rate": float(f"{trainer.optimizers[0].param_groups[0]['lr']:.3g}"),
            "train_loss": round(metrics["train_loss"], 5),
            "valid_loss": round(metrics["valid_loss"], 5),
            "valid_accuracy": round(metrics["valid_accuracy"], 5),
            "seconds": round(time.perf_counter() - self._start, 2),
        }
        self._history.append(row)
        self._say(
            f"epoch {row['epoch']:3}/{self._history.planned}  {row['phase']:9}  train loss {row['train_loss']:.4f}  "
            f"valid loss {row['valid_loss']:.4f}  valid accuracy {row['valid_accuracy']:.3f}  {row['seconds']:.1f} s"
        )

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Takes the bar off the terminal, so that the message stands alone."""
        if self._bar is not None:
            self._bar.close()


class BestWeights(pl.Callback):
    """Keeps a copy of the weights of the epoch with the lowest validation loss, across phases.

    Attributes:
        valid_loss: the lowest so far.
        epoch: in which it was reached, from 1, or 0 before any.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._state: dict[str, Tensor] = {}
        self.valid_loss = float("inf")
        self.epoch = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copies the weights where the loss fell."""
        loss = float(trainer.callback_metrics["valid_loss"])
        if loss < self.valid_loss and isinstance(pl_module, ClassificationTask):
            self.valid_loss, self.epoch = loss, len(self._history.rows) + 1
            self._state = {name: value.detach().cpu().clone() for name, value in pl_module.network.state_dict().items()}

    def restore(self, network: Any) -> None:
        """Gives `network` the best weights."""
        network.load_state_dict(self._state)
