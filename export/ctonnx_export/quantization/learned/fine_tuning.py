"""Quantization-aware fine-tuning: the weights and scales of an INT8 model learn the outputs of its FP32 original."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ctonnx_export.graph.sessions import open_model
from ctonnx_export.image_sets import ImageSet
from ctonnx_export.quantization.learned.fake_quantization import FakeQuantized, nodes_before

__all__ = ["Step", "feature_tensors", "fine_tune"]

_LEARNING_RATES = {"values": 0.001, "scales": 2e-4}  # of weights and biases, in their steps; of the scales' logarithms
_LARGEST_SHIFT = 1 / 16  # of the height and width


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of the training.

    Attributes:
        epoch: Number of its epoch, from 1.
        images: Number of its images.
        loss: Loss of its images before the step.
    """

    epoch: int
    images: int
    loss: float


def fine_tune(
    quantized: onnx.ModelProto,
    original: onnx.ModelProto,
    images: ImageSet,
    *,
    epochs: int,
    seed: int = 0,
    batch: int = 8,
    progress: Callable[[Step], object] = lambda step: None,
) -> FakeQuantized:
    """Returns an INT8 model whose weights, biases and scales were trained; its graph and types are as before.

    The loss is the Kullback-Leibler divergence of the classes, and the mean squared errors of the pooled features and
    of the maps before them, each over the variance of the original's. Its targets are the original's outputs for the
    same images, which are mirrored and shifted at random; labels are not used. The learning rates rise in the first
    steps and follow a cosine to 0, and the last weights are kept: no image selects them. On one machine and with the
    same number of threads, the result is the same for the same seed.

    Args:
        quantized: Model in QDQ format.
        original: FP32 model that it was quantized from.
        images: Training images, which no comparison uses.
        epochs: Number of passes over the images.
        seed: Random seed of their order and changes.
        batch: Number of images in a step.
        progress: Called after each step.

    Raises:
        ValueError: If the graph has an operator that cannot be trained.
    """
    maps, pooled = feature_tensors(original)
    outputs = ["logits", *maps, *pooled]
    network = FakeQuantized(quantized, original, ["probabilities", *outputs])
    teacher = onnx.ModelProto()
    teacher.CopyFrom(original)
    del teacher.graph.output[:]
    teacher.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    session = open_model(teacher)
    random = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(
        [
            {"params": network.values.parameters(), "lr": _LEARNING_RATES["values"]},
            {"params": network.scales.parameters(), "lr": _LEARNING_RATES["scales"]},
        ]
    )
    steps = epochs * math.ceil(len(images) / batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share_of_rate(step, steps))
    for epoch in range(1, epochs + 1):
        order = random.permutation(len(images))
        for start in range(0, len(images), batch):
            pixels = _changed(images.pixels(order[start : start + batch]), random)
            targets = [torch.from_numpy(values) for values in session.run(outputs, {"pixels": pixels})]
            loss = _difference(network.compute(torch.from_numpy(pixels), outputs), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            progress(Step(epoch=epoch, images=len(pixels), loss=float(loss.detach())))
    return network


def _share_of_rate(step: int, steps: int) -> float:
    """Returns the share of the learning rate in a step: a linear warm-up in the first tenth, and a cosine to 0.

    In its first steps Adam moves every weight by the whole rate (Liu et al. 2019, https://arxiv.org/abs/1908.03265).
    """
    warm_up = min(1.0, (step + 1) / max(1.0, steps / 10))
    return warm_up * (1 + math.cos(math.pi * step / steps)) / 2


def feature_tensors(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    """Returns the names of the last feature maps and of the pooled features: one each, or those of each network."""
    pools = [node for node in nodes_before(model, ["logits"]) if node.op_type == "ReduceMean"]
    return [node.input[0] for node in pools], [node.output[0] for node in pools]


def _difference(found: tuple[Tensor, ...], targets: list[Tensor]) -> Tensor:
    (logits, *features), (target_logits, *target_features) = found, targets
    loss = nn.functional.kl_div(
        logits.log_softmax(1), target_logits.log_softmax(1), reduction="batchmean", log_target=True
    )
    for values, target in zip(features, target_features, strict=True):
        loss = loss + (values - target).square().mean() / target.var(correction=0).clamp_min(1e-6)
    return loss


def _changed(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Mirrors and shifts images at random; edges are repeated."""
    changed = []
    for image in pixels:
        most = [int(size * _LARGEST_SHIFT) for size in image.shape[:2]]
        down, across = (int(random.integers(-shift, shift + 1)) for shift in most)
        rows = np.clip(np.arange(image.shape[0]) + down, 0, image.shape[0] - 1)
        columns = np.clip(np.arange(image.shape[1]) + across, 0, image.shape[1] - 1)
        moved = image[rows][:, columns]
        changed.append(moved[:, ::-1] if random.random() < 0.5 else moved)
    return np.ascontiguousarray(np.stack(changed))
