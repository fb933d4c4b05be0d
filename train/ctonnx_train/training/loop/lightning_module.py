"""One phase of the training as a LightningModule."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from ctonnx_train.evaluation.statistics.metrics import compute_metrics
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.training.loop.augmentation import Augmentation
from ctonnx_train.training.loop.batches import Batch
from ctonnx_train.training.loop.device import DeviceTimer
from ctonnx_train.training.loop.distributed import gather, share_buffers
from ctonnx_train.training.recipe import MONITORS, Phase, image_size

__all__ = ["ClassificationTask"]

_WARM_UP = 0.15  # share of the one-cycle schedule's steps


class ClassificationTask(pl.LightningModule):
    """Trains a network for one phase; logs `train_loss` and the metrics of `MONITORS` as `valid_...`.

    Args:
        network: Network to train, in place.
        phase: Phase of the recipe.
        seed: Random seed of dropout and augmentation; each epoch is seeded again, so that a resumed training draws the
            same numbers.
        class_weights: Weights of the classes in the training loss; None weighs them equally. The validation loss is
            never weighted.
        augmentation: Augmentation of the training images, or None.
        compile_network: Whether to compile the network with `torch.compile`.

    Attributes:
        data_timer: Time spent on augmentation in this phase; on a GPU, on the copies to it, too.
        image_size: Height and width of the images of the last step, in pixels.
    """

    def __init__(
        self,
        network: CTClassifier,
        phase: Phase,
        *,
        seed: int = 0,
        class_weights: Sequence[float] | None = None,
        augmentation: Augmentation | None = None,
        compile_network: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.phase = phase
        self.data_timer = DeviceTimer()
        self.image_size = 0
        self._seed = seed
        self._augmentation = augmentation
        # In a list, so that it is not a submodule whose weights, shared with the network, are saved twice.
        self._forward: Any = [torch.compile(network, dynamic=False) if compile_network else network]
        weights = None if class_weights is None else torch.tensor(class_weights)
        self._class_weights: Tensor | None
        self.register_buffer("_class_weights", weights, persistent=False)
        self._predicted: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = []
        network.set_trainable(phase.stages, dropout=phase.dropout)

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns logits [batch, classes]."""
        logits: Tensor = self._forward[0](pixels)
        return logits

    def on_train_epoch_start(self) -> None:
        """Seeds the random numbers of the epoch, differently on each process."""
        torch.manual_seed((self._seed << 24) + (self.phase.number << 20) + (self.current_epoch << 8) + self.global_rank)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Copies a batch; in training, a GPU's time for it is measured: the copy does not wait."""
        is_measured = device.type == "cuda" and self.trainer.training
        with self.data_timer.timed(device) if is_measured else nullcontext():
            moved: Batch = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return moved

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Returns the loss of a batch."""
        pixels, labels = batch
        if self._augmentation is None:
            self.image_size = pixels.shape[-1]
        else:
            self.image_size = image_size(pixels.shape[-1], self.phase, self.current_epoch)
            progress = (self.current_epoch + 1) / self.phase.epochs if self.phase.growing else 1.0
            with self.data_timer.timed(pixels.device):
                pixels = self._augmentation.at(progress)(pixels, self.image_size)
        loss = self.loss(pixels, labels)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels), sync_dist=self._distributed)
        return loss

    def loss(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Returns the cross-entropy for augmented pixels."""
        return nn.functional.cross_entropy(self(pixels).float(), labels, weight=self._class_weights)

    def on_validation_epoch_start(self) -> None:
        """Clears the previous predictions and copies the first process's running statistics to all processes."""
        self._predicted = []
        share_buffers(self.network)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Keeps the logits of a batch."""
        pixels, labels = batch
        self._predicted.append((self(pixels).float().cpu().numpy(), labels.cpu().numpy()))

    def on_validation_epoch_end(self) -> None:
        """Logs the metrics on the validation images of all processes; each image counts once."""
        predicted = [pair for pairs in gather(self._predicted) for pair in pairs]
        logits = np.concatenate([pair[0] for pair in predicted])
        labels = np.concatenate([pair[1] for pair in predicted])
        loss = nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
        values: dict[str, float] = {"loss": float(loss)}
        if np.isfinite(logits).all():
            measured = compute_metrics(torch.from_numpy(logits).softmax(1).numpy(), labels)
            values |= {name: measured[name].item() for name in MONITORS if name != "loss"}
        # NaN replaces the value of the epoch before.
        found = {f"valid_{name}": values.get(name, math.nan) for name in MONITORS}
        self.log_dict(found, sync_dist=self._distributed)  # all processes have the same values

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Returns AdamW (without weight decay, Adam) for the trainable weights, and the schedule of the phase."""
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            parameters, lr=self.phase.learning_rate, weight_decay=self.phase.weight_decay, fused=True
        )
        if self.phase.schedule == "constant":
            return optimizer
        # OneCycleLR divides by the length of its warm-up minus one step, which must not be zero.
        steps = max(int(self.trainer.estimated_stepping_batches), round(2 / _WARM_UP))
        one_cycle = OneCycleLR(optimizer, max_lr=self.phase.learning_rate, total_steps=steps, pct_start=_WARM_UP)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": one_cycle, "interval": "step"}}

    @property
    def _distributed(self) -> bool:
        return self.trainer.world_size > 1
