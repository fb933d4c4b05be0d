"""The deployed networks: from bytes to probabilities, logits, heatmaps and novelty in one forward pass."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.novelty import NoveltyDistance

__all__ = ["DeployGraph", "EnsembleGraph"]

_SMALLEST = 1e-30  # probability: the logarithm of the smallest float32 numbers is not accurate


class DeployGraph(nn.Module):
    """Exported graph: cast, layout and normalization before the network, softmax and Grad-CAM after it.

    Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391) weights layer4's maps by the gradient of a
    class's logit with respect to them, averaged over all positions. Because of the global average pooling, that
    gradient is the same at every position. The head after it consists of dense layers and ReLUs, so its gradient is the
    product of its weight matrices without the rows of inactive units: no backward pass is needed.

    Args:
        network: Trained network; it is set to evaluation mode.
        temperature: Divisor of the logits before the softmax.
        novelty: Distance from the training images; without it, the graph has no output `novelty`.
    """

    def __init__(self, network: CTClassifier, temperature: float = 1.0, novelty: NoveltyDistance | None = None) -> None:
        super().__init__()
        self.network = network.eval()
        self.temperature = temperature
        self.novelty = novelty

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Returns the `ctonnx.parity.outputs.Outputs` in their order for images, uint8 [batch, height, width, 3]."""
        return self.outputs(self.network.normalize(pixels.permute(0, 3, 1, 2)), pixels)

    def outputs(self, normalized: Tensor, pixels: Tensor) -> tuple[Tensor, ...]:
        """Returns the outputs for images and the same images after `CTClassifier.normalize`."""
        maps = self.network.features_of_normalized(normalized)
        head = self.network.head
        pooled = maps.mean((2, 3))
        hidden1 = head.dense1(pooled)
        hidden2 = head.dense2(hidden1.relu())
        logits = head.dense3(hidden2.relu())
        # d logits / d pooled features, [batch, classes, 2048], from the last dense layer back to the first
        gradient = head.dense3.weight * (hidden2 > 0).unsqueeze(1)
        gradient = (gradient @ head.dense2.weight) * (hidden1 > 0).unsqueeze(1)
        gradient = gradient @ head.dense1.weight
        batch, channels, height, width = maps.shape
        heatmap = (gradient @ maps.reshape(batch, channels, height * width)).relu() / (height * width)
        probabilities = (logits / self.temperature).softmax(1)
        outputs = probabilities, logits, heatmap.reshape(batch, -1, height, width)
        return outputs if self.novelty is None else (*outputs, self.novelty(pooled, pixels))


class EnsembleGraph(nn.Module):
    """Several networks as one graph, whose probabilities are the mean of the networks' own.

    The logits are the logarithm of the mean: they are already divided by the networks' temperature. Heatmap and novelty
    are the means of the networks' own.

    Source: Lakshminarayanan et al. 2017, https://arxiv.org/abs/1612.01474.

    Args:
        members: Networks of the same classes; the ensemble has a novelty if all of them have one.

    Attributes:
        novelty: Whether the graph has the output `novelty`.
    """

    def __init__(self, members: Iterable[DeployGraph]) -> None:
        super().__init__()
        self._members = tuple(members)
        self.members = nn.ModuleList(self._members)
        self.novelty = all(member.novelty is not None for member in self._members)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Returns the `ctonnx.parity.outputs.Outputs` in their order for images, uint8 [batch, height, width, 3]."""
        normalized = self._members[0].network.normalize(pixels.permute(0, 3, 1, 2))
        found = [member.outputs(normalized, pixels) for member in self._members]
        mean, _, heatmap, *novelty = (torch.stack(outputs).mean(0) for outputs in zip(*found, strict=False))
        logits = mean.clamp_min(_SMALLEST).log()
        return logits.softmax(1), logits, heatmap, *novelty
