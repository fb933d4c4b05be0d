"""The plain loop trains on images in memory and measures its last epoch."""

import numpy as np
import pytest
import torch
from tests.thin.sitecustomize import thin_resnet50

from ctonnx_bench.experiments.throughput.plain_training import measure_plain


@pytest.mark.parametrize("channels", [1, 3])
def test_last_epoch_is_measured(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.models.resnet50", thin_resnet50)
    pixels = np.random.default_rng(0).integers(0, 256, (10, 32, 32, channels), np.uint8)
    found = measure_plain(pixels, [0, 1] * 5, classes=2, batch_size=4, epochs=1, workers=0)
    assert found["images_per_second"] > 0
    assert 0 <= found["data_share"] < 1


def test_no_step_waits_for_its_loss_and_the_devices_time_on_data_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in ctonnx's training: the loss of a step is not read, which would wait for a GPU."""
    read: list[torch.Tensor] = []
    item = torch.Tensor.item

    def spy(tensor: torch.Tensor) -> float:
        if tensor.requires_grad:
            read.append(tensor)
        return item(tensor)

    monkeypatch.setattr("torchvision.models.resnet50", thin_resnet50)
    monkeypatch.setattr(torch.Tensor, "item", spy)
    monkeypatch.setattr("ctonnx_train.training.loop.device.DeviceTimer.seconds", 1e9)
    found = measure_plain(np.zeros((4, 32, 32, 1), np.uint8), [0, 1] * 2, classes=2, batch_size=4, epochs=1, workers=0)
    assert read == []
    assert found["data_share"] > 1e5
