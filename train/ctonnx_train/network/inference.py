"""Logits of a network for the images of a store, in full precision."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ctonnx_train.data.pixel_store import Pixels
from ctonnx_train.network.classifier import CTClassifier

__all__ = ["predict_logits"]


def predict_logits(
    network: CTClassifier, store: Pixels, rows: Sequence[int], *, device: torch.device, batch_size: int = 32
) -> NDArray[np.float32]:
    """Returns logits, float32 [rows, classes]; moves the network to `device` and sets it to evaluation mode."""
    network = network.to(device).eval()
    logits = [np.empty((0, network.head.dense3.out_features), np.float32)]
    # Recent GPUs compute convolutions in TF32 by default.
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for start in range(0, len(rows), batch_size):
            pixels = torch.from_numpy(store.take(rows[start : start + batch_size])).permute(0, 3, 1, 2)
            logits.append(network(pixels.to(device)).cpu().numpy())
    return np.concatenate(logits)
