"""Plain torchvision training loop on images in memory, for comparison with ctonnx's."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["measure_plain"]


def measure_plain(
    pixels: NDArray[np.uint8],
    labels: Sequence[int],
    *,
    classes: int,
    batch_size: int,
    epochs: int = 2,
    workers: int = 4,
    device: str = "cpu",
) -> dict[str, float]:
    """Trains torchvision's ResNet50, and returns images per second of the last epoch and the share of time on data.

    As in torchvision's references: bf16 autocast, channels last, AdamW, a DataLoader with worker processes, pinned
    memory on a GPU. A horizontal flip is the only augmentation. As in ctonnx's training, no step waits for the GPU, the
    epoch does at its end, and the time on data is that of waiting for a batch, of its copy and of the augmentation.

    Args:
        pixels: uint8 [images, size, size, channels], of 1 or 3 channels.
        labels: Class index of each image.
        classes: Number of classes.
        batch_size: Images per step; an incomplete last batch is left out.
        epochs: Number of epochs; only the last one is measured.
        workers: Number of worker processes of the loader.
        device: Device of the training.
    """
    import torch
    from torch.utils.data import DataLoader, TensorDataset
    from torchvision.models import resnet50

    from ctonnx_train.training.loop.device import DeviceTimer

    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    data = TensorDataset(images, torch.tensor(labels))
    on_gpu = device == "cuda"
    loader: DataLoader[tuple[torch.Tensor, ...]] = DataLoader(
        data,
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=on_gpu,
        persistent_workers=workers > 0,
    )
    model = resnet50()
    model.fc = torch.nn.Linear(model.fc.in_features, classes)
    model = model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.02)
    loss_of = torch.nn.CrossEntropyLoss()
    place = torch.device(device)
    for _ in range(epochs):
        count, waited, start = 0, 0.0, time.perf_counter()
        before, on_device = start, DeviceTimer()
        for batch, targets in loader:
            waited += time.perf_counter() - before
            with on_device.timed(place):
                batch, targets = batch.to(place, non_blocking=True), targets.to(place, non_blocking=True)
                given = _normalized(batch)
            with torch.autocast(device, torch.bfloat16):
                loss = loss_of(model(given), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            count += len(targets)
            before = time.perf_counter()
        if on_gpu:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    return {"images_per_second": count / seconds, "data_share": (waited + on_device.seconds) / seconds}


def _normalized(batch: "torch.Tensor") -> "torch.Tensor":
    """Returns float images with three channels, channels last, flipped at random."""
    import torch

    images = batch.expand(-1, 3, -1, -1).to(memory_format=torch.channels_last).float() / 255
    flipped = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(flipped, images.flip(3), images)
