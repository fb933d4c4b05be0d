"""Distillation: a network learns the outputs of its original instead of the labels."""

from typing import Any

import torch
from torch import Tensor, nn

from ctonnx_compress.settings import CompressSettings
from ctonnx_train.network.classifier import STAGES, CTClassifier
from ctonnx_train.training.loop.lightning_module import ClassificationTask
from ctonnx_train.training.recipe import Phase

__all__ = ["DistillationTask", "phases"]

_TEMPERATURE = 4.0  # of the logits: with 1, a confident original has nearly no probability for the other classes
_LEARNING_RATE = 3e-4


class DistillationTask(ClassificationTask):
    """Trains a network on the logits and the pooled features of its original, for the same augmented images.

    The loss is the Kullback-Leibler divergence of the classes at a temperature (Hinton et al. 2015,
    https://arxiv.org/abs/1503.02531) plus the mean squared error of the pooled features over their variance (Romero et
    al. 2015, https://arxiv.org/abs/1412.6550). Labels are not used: the network is compared with its original.

    Args:
        original: Network to learn from, with as many pooled features; it is set to evaluation mode.
        arguments: Further arguments of `ClassificationTask`.
    """

    def __init__(self, *arguments: Any, original: CTClassifier, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._original = [original.eval()]  # in a list, so that its weights are not saved with the task's

    def on_fit_start(self) -> None:
        """Moves the original to the device of the training."""
        self._original[0].to(self.device).to(memory_format=torch.channels_last)

    def loss(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Returns the difference from the original's outputs."""
        original = self._original[0]
        with torch.no_grad():
            target = original.features(pixels).mean((2, 3)).float()
            target_logits = original.head(target).float()
        pooled = self.network.features(pixels).mean((2, 3)).float()
        logits = self.network.head(pooled).float()
        classes = nn.functional.kl_div(
            (logits / _TEMPERATURE).log_softmax(1),
            (target_logits / _TEMPERATURE).log_softmax(1),
            reduction="batchmean",
            log_target=True,
        )
        features = (pooled - target).square().mean() / target.var().clamp_min(1e-6)
        return _TEMPERATURE**2 * classes + features


def phases(settings: CompressSettings, augmentation: float) -> tuple[Phase, ...]:
    """Returns a phase of training for each step; `augmentation` is its strength, as in `Phase`.

    All images have their full size: the outputs of the original for smaller ones are not those to learn.
    """
    return tuple(
        Phase(
            number=number,
            name=f"step {number}",
            stages=STAGES,
            epochs=epochs,
            learning_rate=_LEARNING_RATE,
            schedule="one-cycle",
            weight_decay=0.02,
            dropout=False,
            augmentation=augmentation,
        )
        for number, epochs in enumerate(settings.epochs_of_steps, 1)
    )
