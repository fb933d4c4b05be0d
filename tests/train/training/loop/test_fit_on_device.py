"""A training on a real device, by `make gpu`."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ctonnx.artifacts.run import Run
from ctonnx_train.data.pixel_store import PixelArray
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.training.loop.batches import PixelDataset
from ctonnx_train.training.loop.fit import fit
from ctonnx_train.training.recipe import TrainSettings

pytestmark = pytest.mark.gpu


def test_loss_falls_on_the_device_with_pinned_batches_and_channels_last(device: str, tmp_path: Path) -> None:
    labels = [number % 2 for number in range(32)]
    bright = np.array(labels, np.uint8).reshape(-1, 1, 1, 1) * 128  # a class shows in its brightness
    pixels = np.random.default_rng(0).integers(0, 100, (32, 64, 64, 1), np.uint8) + bright
    images = PixelDataset(PixelArray(pixels), range(32), labels)
    network = CTClassifier(2)
    settings = TrainSettings(weights="none", epochs=3, batch_size=8)
    fitted = fit(network, images, images, labels, ("a", "b"), settings, Run(tmp_path))
    assert fitted.device.type == device
    losses = [row["train_loss"] for row in fitted.history.rows]
    assert losses[-1] < losses[0]
    weights = network.backbone.conv1.weight
    assert weights.is_contiguous(memory_format=torch.channels_last)
