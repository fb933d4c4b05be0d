"""One phase of the training, in Lightning's words."""

import math
import time
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from ctonnx_train.evaluation.metrics import figures
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.training.loop.augmentation import Augmentation
from ctonnx_train.training.loop.batches import Batch
from ctonnx_train.training.loop.distributed import gather, share_buffers
from ctonnx_train.training.recipe import MONITORS, Phase, image_size

__all__ = ["ClassificationTask"]

_WARM_UP = 0.15  # of the one-cycle schedule's steps


class ClassificationTask(pl.LightningModule):
    """Trains a network for one phase; logs `train_loss` and, as `valid_...`, what a checkpoint can be chosen by.

    Args:
        network: Trained in place.
        phase: what learns, and how fast.
        seed: of dropout and augmentation, together with the epoch: a resumed training draws what it would have drawn.
        class_weights: of the cross-entropy in training; None weighs all classes alike. Validation's is not weighted.
        augmentation: Changes the training images; None leaves them as they are.
        compile_network: Whether `torch.compile` makes the network's code.

    Attributes:
        augmentation_seconds: how long the augmentation took in this phase; on a GPU, until it was launched.
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
        self.augmentation_seconds = 0.0
        self.image_size = 0
        self._seed = seed
        self._augmentation = augmentation
        # Not a submodule: the compiled network shares the network's weights, which must not be saved twice.
        self._forward: Any = [torch.compile(network, dynamic=False) if compile_network else network]
        weights = None if class_weights is None else torch.tensor(class_weights)
        self._class_weights: Tensor | None
        self.register_buffer("_class_weights", weights, persistent=False)
        self._answers: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = []
        network.set_trainable(phase.stages, dropout=phase.dropout)

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns logits [batch, classes]."""
        logits: Tensor = self._forward[0](pixels)
        return logits

    def on_train_epoch_start(self) -> None:
        """Seeds what is drawn in the epoch, other on each process."""
        torch.manual_seed((self._seed << 24) + (self.phase.number << 20) + (self.current_epoch << 8) + self.global_rank)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Returns the cross-entropy of a batch."""
        pixels, labels = batch
        start = time.perf_counter()
        if self._augmentation is None:
            self.image_size = pixels.shape[-1]
        else:
            self.image_size = image_size(pixels.shape[-1], self.phase, self.current_epoch)
            pixels = self._augmentation(pixels, self.image_size)
        self.augmentation_seconds += time.perf_counter() - start
        loss = nn.functional.cross_entropy(self(pixels).float(), labels, weight=self._class_weights)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels), sync_dist=self._distributed)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forgets the answers of the validation before; all processes take the first one's running statistics."""
        self._answers = []
        share_buffers(self.network)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Keeps the answers for a batch."""
        pixels, labels = batch
        self._answers.append((self(pixels).float().cpu().numpy(), labels.cpu().numpy()))

    def on_validation_epoch_end(self) -> None:
        """Logs the figures on the validation images of all processes together, each of which counts once."""
        answers = [pair for pairs in gather(self._answers) for pair in pairs]
        logits = np.concatenate([pair[0] for pair in answers])
        labels = np.concatenate([pair[1] for pair in answers])
        loss = nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
        values: dict[str, float] = {"loss": float(loss)}
        if np.isfinite(logits).all():
            measured = figures(torch.from_numpy(logits).softmax(1).numpy(), labels)
            values |= {name: measured[name].item() for name in MONITORS if name != "loss"}
        found = {f"valid_{name}": values.get(name, math.nan) for name in MONITORS}  # or the epoch before's would stand
        self.log_dict(found, sync_dist=self._distributed)  # which changes nothing: all processes have the same values

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Returns AdamW on the weights that learn, which without weight decay is Adam, and the phase's schedule."""
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            parameters, lr=self.phase.learning_rate, weight_decay=self.phase.weight_decay, fused=True
        )
        if self.phase.schedule == "constant":
            return optimizer
        # OneCycleLR divides by the length of its warm-up less one step, which must not come to nothing.
        steps = max(int(self.trainer.estimated_stepping_batches), round(2 / _WARM_UP))
        one_cycle = OneCycleLR(optimizer, max_lr=self.phase.learning_rate, total_steps=steps, pct_start=_WARM_UP)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": one_cycle, "interval": "step"}}

    @property
    def _distributed(self) -> bool:
        return self.trainer.world_size > 1
