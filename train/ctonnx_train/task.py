"""One phase of the training, in Lightning's words."""

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from ctonnx_train.network import CTClassifier
from ctonnx_train.recipe import Phase

__all__ = ["ClassificationTask"]


class ClassificationTask(pl.LightningModule):
    """Trains a network for one phase; logs `train_loss`, `valid_loss` and `valid_accuracy`.

    Args:
        network: trained in place.
        phase: what learns, and how fast.
    """

    def __init__(self, network: CTClassifier, phase: Phase) -> None:
        super().__init__()
        self.network = network
        self.phase = phase
        network.set_trainable(phase.stages, dropout=phase.dropout)

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns logits [batch, classes]."""
        logits: Tensor = self.network(pixels)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Returns the cross-entropy of a batch."""
        pixels, labels = batch
        loss = nn.functional.cross_entropy(self(pixels).float(), labels)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        """Logs the loss and the accuracy of a batch, averaged over the epoch."""
        pixels, labels = batch
        logits = self(pixels).float()
        self.log("valid_loss", nn.functional.cross_entropy(logits, labels), batch_size=len(labels))
        self.log("valid_accuracy", (logits.argmax(1) == labels).float().mean(), batch_size=len(labels))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Returns AdamW on the weights that learn, which without weight decay is Adam, and the phase's schedule."""
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=self.phase.learning_rate, weight_decay=self.phase.weight_decay)
        if self.phase.schedule == "constant":
            return optimizer
        # OneCycleLR divides by the length of its warm-up, a quarter of the steps, which must not come to nothing.
        steps = max(int(self.trainer.estimated_stepping_batches), 8)
        one_cycle = OneCycleLR(optimizer, max_lr=self.phase.learning_rate, total_steps=steps, pct_start=0.25)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": one_cycle, "interval": "step"}}
