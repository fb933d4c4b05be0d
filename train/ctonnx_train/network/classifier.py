"""The classifier: a ResNet50 with a small multi-layer head, from 8-bit pixels to logits."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torchvision.models import resnet50

__all__ = ["STAGES", "CTClassifier", "Head"]

STAGES = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
"""Stages of the network from input to output, the units of freezing."""

# Normalization of torchvision's pretrained ResNet50, in pixel values (0 to 255).
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)


class Head(nn.Module):
    """Dense 512, ReLU, dropout 0.4, dense 128, ReLU, dropout 0.3, dense `classes`."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.dense1 = nn.Linear(features, 512)
        self.dropout1 = nn.Dropout(0.4)
        self.dense2 = nn.Linear(512, 128)
        self.dropout2 = nn.Dropout(0.3)
        self.dense3 = nn.Linear(128, classes)

    def forward(self, pooled: Tensor) -> Tensor:
        """Returns logits [batch, classes] for pooled features [batch, features]."""
        hidden = self.dropout1(self.dense1(pooled).relu())
        hidden = self.dropout2(self.dense2(hidden).relu())
        logits: Tensor = self.dense3(hidden)
        return logits


class CTClassifier(nn.Module):
    """ResNet50 (He et al. 2015, https://arxiv.org/abs/1512.03385), global average pooling and a `Head`."""

    mean: Tensor
    std: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = resnet50(weights=None)
        self.head = Head(self.backbone.fc.in_features, classes)
        del self.backbone.fc
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)
        self._trainable: tuple[str, ...] = STAGES
        self._dropout = True

    def features(self, pixels: Tensor) -> Tensor:
        """Returns layer4's feature maps, float [batch, 2048, height / 32, width / 32].

        Pixels are uint8, or float from 0 to 255: [batch, 3, height, width] in RGB order, or 1 channel for grey images.
        """
        return self.features_of_normalized(self.normalize(pixels))

    def normalize(self, pixels: Tensor) -> Tensor:
        """Returns the backbone's input, the same for all networks: float [batch, 3, height, width]."""
        return (pixels.float() - self.mean) / self.std

    def features_of_normalized(self, normalized: Tensor) -> Tensor:
        """Returns `features` for the result of `normalize`."""
        net = self.backbone
        maps = net.maxpool(net.relu(net.bn1(net.conv1(normalized))))
        layers: Tensor = net.layer4(net.layer3(net.layer2(net.layer1(maps))))
        return layers

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns logits [batch, classes]; `pixels` as for `features`."""
        logits: Tensor = self.head(self.features(pixels).mean((2, 3)))
        return logits

    def fit_widths(self, state: Mapping[str, Tensor]) -> None:
        """Gives the backbone the widths of a state dict, whose values are not loaded: those of a compressed network.

        Raises:
            ValueError: If its layers do not fit to each other, or not to the head.
        """
        changed = False
        for name, module in self.backbone.named_modules(prefix="backbone"):
            weight = state.get(f"{name}.weight")
            if weight is None or weight.shape == getattr(module, "weight", weight).shape:
                continue
            changed = True
            if isinstance(module, nn.Conv2d) and weight.ndim == 4:
                module.out_channels, module.in_channels = weight.shape[:2]
                module.weight = nn.Parameter(torch.empty_like(weight))
            elif isinstance(module, nn.BatchNorm2d) and weight.ndim == 1:
                module.num_features = len(weight)
                for part in ("weight", "bias"):
                    setattr(module, part, nn.Parameter(torch.empty_like(weight)))
                for part in ("running_mean", "running_var"):
                    setattr(module, part, torch.empty_like(weight))
        if not changed:
            return
        tensors = {name: tensor.to("meta") for name, tensor in (*self.named_parameters(), *self.named_buffers())}
        try:
            functional_call(self, tensors, (torch.empty(2, 3, 64, 64, device="meta"),))
        except RuntimeError as error:
            raise ValueError(f"the widths of the layers do not fit to each other: {error}") from error

    def set_trainable(self, stages: tuple[str, ...], *, dropout: bool = True) -> None:
        """Selects the stages to train; the others keep their weights and batch normalization statistics.

        `dropout` selects whether the head's dropout is active.
        """
        self._trainable = stages
        self._dropout = dropout
        for stage in STAGES:
            for part in self._parts(stage):
                part.requires_grad_(stage in stages)
        self.train(self.training)

    def train(self, mode: bool = True) -> "CTClassifier":
        """Sets training mode; frozen stages, and dropout if it is off, stay in evaluation mode."""
        super().train(mode)
        if not self._dropout:
            self.head.dropout1.eval()
            self.head.dropout2.eval()
        for stage in set(STAGES).difference(self._trainable):
            for part in self._parts(stage):
                part.eval()
        return self

    def _parts(self, stage: str) -> tuple[nn.Module, ...]:
        if stage == "head":
            return (self.head,)
        if stage == "stem":
            return (self.backbone.conv1, self.backbone.bn1)
        return (getattr(self.backbone, stage),)
