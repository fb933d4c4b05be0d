"""The plain loop trains on images in memory and measures its last epoch."""

import numpy as np
import pytest
from tests.thin.sitecustomize import thin_resnet50

from ctonnx_bench.experiments.throughput.plain_training import measure_plain


@pytest.mark.parametrize("channels", [1, 3])
def test_last_epoch_is_measured(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.models.resnet50", thin_resnet50)
    pixels = np.random.default_rng(0).integers(0, 256, (10, 32, 32, channels), np.uint8)
    found = measure_plain(pixels, [0, 1] * 5, classes=2, batch_size=4, epochs=1, workers=0)
    assert found["images_per_second"] > 0
    assert 0 <= found["data_share"] < 1
