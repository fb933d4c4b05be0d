"""Multiplications and weights of a network's convolutions and dense layers."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from ctonnx_train.network.classifier import CTClassifier

__all__ = ["Layer", "count_operations", "layers_of", "operations_text"]


@dataclass(frozen=True)
class Layer:
    """A convolution or dense layer: its outputs' positions (height x width, or 1), and its sizes.

    Attributes:
        positions: Number of positions of an output channel.
        outputs: Number of output channels.
        inputs: Number of input channels.
        kernel: Number of weights for one input and one output channel.
    """

    positions: int
    outputs: int
    inputs: int
    kernel: int

    @property
    def weights(self) -> int:
        """Number of weights, without biases."""
        return self.outputs * self.inputs * self.kernel

    @property
    def operations(self) -> int:
        """Number of multiplications for one image."""
        return self.positions * self.weights


def layers_of(network: CTClassifier, size: int) -> dict[nn.Module, Layer]:
    """Returns the layers of a network for images of `size` x `size` pixels."""
    found: dict[nn.Module, Layer] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight: Tensor = module.weight  # type: ignore[assignment]  # of the two types below
        channels, inputs_of_each, *kernel = weight.shape
        found[module] = Layer(prod(output.shape[2:]), channels, inputs_of_each, prod(kernel))

    hooks = [
        module.register_forward_hook(note) for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, size, size, device=next(network.parameters()).device))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return found


def count_operations(network: CTClassifier, size: int) -> int:
    """Returns the number of multiplications for an image of `size` x `size` pixels.

    Those of batch normalization are not counted: the export folds it into the convolutions.
    """
    return sum(layer.operations for layer in layers_of(network, size).values())


def operations_text(operations: int) -> str:
    """Returns a number of multiplications as text.

    >>> operations_text(4_088_250_880), operations_text(11_739_648)
    ('4.09 G', '11.7 M')
    """
    return f"{operations / 1e9:.2f} G" if operations >= 1e8 else f"{operations / 1e6:.1f} M"
