"""Logits, pooled features and novelty of a network for the images of a store, in full precision."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctonnx_train.data.pixel_store import Pixels
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.novelty import NoveltyDistance

__all__ = ["novelty_of", "predict_features", "predict_logits"]


def predict_logits(
    network: CTClassifier, store: Pixels, rows: Sequence[int], *, device: torch.device, batch_size: int = 32
) -> NDArray[np.float32]:
    """Returns logits, float32 [rows, classes]; moves the network to `device` and sets it to evaluation mode."""
    network = network.to(device).eval()
    return _predict(network, network.head.dense3.out_features, store, rows, device, batch_size)


def predict_features(
    network: CTClassifier, store: Pixels, rows: Sequence[int], *, device: torch.device, batch_size: int = 32
) -> NDArray[np.float32]:
    """Returns the features after global average pooling, float32 [rows, 2048]; else as `predict_logits`."""
    network = network.to(device).eval()

    def pooled(pixels: Tensor) -> Tensor:
        return network.features(pixels).mean((2, 3))

    return _predict(pooled, network.head.dense1.in_features, store, rows, device, batch_size)


def novelty_of(
    distance: NoveltyDistance,
    features: NDArray[np.float32],
    store: Pixels,
    rows: Sequence[int],
    *,
    batch_size: int = 32,
) -> NDArray[np.float32]:
    """Returns the novelty of images, float32 [rows], computed on the CPU; `features` are from `predict_features`."""
    novelty = [np.empty(0, np.float32)]
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            pixels = torch.from_numpy(store.take(rows[start : start + batch_size]))
            novelty.append(distance(torch.from_numpy(features[start : start + batch_size]), pixels).numpy())
    return np.concatenate(novelty)


def _predict(
    function: Callable[[Tensor], Tensor],
    width: int,
    store: Pixels,
    rows: Sequence[int],
    device: torch.device,
    batch_size: int,
) -> NDArray[np.float32]:
    """Returns a function's results, float32 [rows, width]."""
    results = [np.empty((0, width), np.float32)]
    # Recent GPUs compute convolutions in TF32 by default.
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for start in range(0, len(rows), batch_size):
            pixels = torch.from_numpy(store.take(rows[start : start + batch_size])).permute(0, 3, 1, 2)
            results.append(function(pixels.to(device)).cpu().numpy())
    return np.concatenate(results)
