"""Structured pruning: the least important channels of a network are found and removed.

A channel that one layer writes and others read, such as that of a residual sum, is removed from all of them: these
groups come from torch-pruning's dependency graph (Fang et al. 2023, https://arxiv.org/abs/2301.12900). The importance
of a channel is the first-order Taylor estimate of the loss's change without it (Molchanov et al. 2019,
https://arxiv.org/abs/1906.10771), summed over the layers of its group and over batches of training images. Channels are
removed in blocks of 16, the width that the kernels of 8-bit products are made for; first those that are least important
for the share of multiplications and weights that they cost.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn

from ctonnx_compress.operations import Layer, layers_of
from ctonnx_train.network.classifier import STAGES, CTClassifier

__all__ = ["BLOCK", "least_operations", "prune", "widths"]

BLOCK = 16
"""Number of channels that are removed together."""

_LEAST_LEFT = 1 / 4  # of the widths of the network's parent: a narrower layer would be a bottleneck


@dataclass
class _Group:
    """Channels that are removed together with those of the same number in other layers.

    Attributes:
        root: First layer that writes them.
        writers: Layers that write them, with the root.
        readers: Layers that read them.
        order: Numbers of the channels, the least important first.
        importance: Importance of the channels in this order.
        removed: Number of channels to remove.
        least: Smallest number of channels to leave.
    """

    root: nn.Conv2d
    writers: tuple[nn.Module, ...]
    readers: tuple[nn.Module, ...]
    order: Tensor
    importance: Tensor
    least: int
    removed: int = 0

    @property
    def next_block(self) -> int:
        """Number of channels of the next block, which leaves a multiple of 16; 0 if too few are left."""
        left = len(self.order) - self.removed
        block = left % BLOCK or BLOCK
        return block if left - block >= self.least else 0

    def cost(self, block: int) -> float:
        """Importance of the next block."""
        return float(self.importance[self.removed : self.removed + block].sum())


def widths(network: CTClassifier) -> dict[str, int]:
    """Returns the number of output channels of each convolution, by its name in the network."""
    return {name: part.out_channels for name, part in network.named_modules() if isinstance(part, nn.Conv2d)}


def prune(
    network: CTClassifier,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    operations: int,
    size: int,
    parent: Mapping[str, int],
) -> None:
    """Removes channels in place until at most `operations` multiplications are left for an image.

    The first convolution and the head keep their sizes, and so the pooled features their number.

    Args:
        network: Network to prune.
        batches: Training images, float [images, channels, height, width] with values from 0 to 255, and their labels.
        operations: Number of multiplications to reach.
        size: Height and width of the images, in pixels.
        parent: `widths` before the first pruning; each layer keeps a quarter of its width or more.

    Raises:
        ValueError: If so few multiplications cannot be reached (`least_operations`), or there are no images.
    """
    graph, found = _find_groups(network, size)
    groups = _groups(network, found, _importance(network, found, batches), parent)
    _choose(groups, layers_of(network, size), operations)
    for group in groups:
        if group.removed:
            numbers = sorted(group.order[: group.removed].tolist())
            graph.get_pruning_group(group.root, torch_pruning.prune_conv_out_channels, numbers).prune()
    network.zero_grad(set_to_none=True)


def least_operations(network: CTClassifier, size: int) -> int:
    """Returns the smallest number of multiplications that `prune` can leave for an image of a network."""
    _, found = _find_groups(network, size)
    layers = layers_of(network, size)
    alike = [torch.zeros(group[0].dep.layer.out_channels) for group in found]
    for group in _groups(network, found, alike, widths(network)):
        while block := group.next_block:
            layers.update(_without(group, layers, block))
            group.removed += block
    return sum(layer.operations for layer in layers.values())


def _find_groups(network: CTClassifier, size: int) -> tuple[Any, list[Any]]:
    """Returns torch-pruning's dependency graph, and its groups that may be pruned."""
    network.set_trainable(STAGES)
    network.eval()  # in training, batch normalization hides the effect of a convolution's scale
    example = torch.zeros(1, 3, size, size, device=next(network.parameters()).device)
    graph = torch_pruning.DependencyGraph().build_dependency(network, example_inputs=example)
    fixed = [network.backbone.conv1, network.head.dense1, network.head.dense2, network.head.dense3]
    groups = graph.get_all_groups(ignored_layers=fixed, root_module_types=(nn.Conv2d,))
    return graph, [group for group in groups if not any(dep.layer in fixed for dep, _ in group)]


def _groups(
    network: CTClassifier, found: list[Any], importance: list[Tensor], parent: Mapping[str, int]
) -> list[_Group]:
    names = {part: name for name, part in network.named_modules()}
    return [
        _group(group, values, round(parent[names[group[0].dep.layer]] * _LEAST_LEFT))
        for group, values in zip(found, importance, strict=True)
    ]


def _importance(network: CTClassifier, groups: list[Any], batches: Iterable[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Returns the importance of each group's channels, the mean over batches."""
    scorer = torch_pruning.importance.GroupTaylorImportance(group_reduction="sum", normalizer=None, multivariable=True)
    totals: list[Tensor] = []
    for pixels, labels in batches:
        network.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(network(pixels).float(), labels).backward()  # type: ignore[no-untyped-call]
        found = [scorer(group).double().cpu() for group in groups]
        totals = [total + values for total, values in zip(totals, found, strict=True)] if totals else found
    if not totals:
        raise ValueError("expected training images to find the important channels with, found none")
    return totals


def _group(group: Any, importance: Tensor, least: int) -> _Group:
    writers: list[nn.Module] = []
    readers: list[nn.Module] = []
    for dep, _ in group:
        if isinstance(dep.layer, nn.Conv2d | nn.Linear):
            written = dep.pruning_fn == torch_pruning.prune_conv_out_channels
            (writers if written else readers).append(dep.layer)
    order = importance.argsort(stable=True)
    return _Group(
        root=group[0].dep.layer,
        writers=tuple(writers),
        readers=tuple(readers),
        order=order,
        importance=importance[order],
        least=max(BLOCK, least),
    )


def _choose(groups: list[_Group], layers: dict[nn.Module, Layer], operations: int) -> None:
    """Sets the number of channels to remove from each group."""
    all_operations = sum(layer.operations for layer in layers.values())
    all_weights = sum(layer.weights for layer in layers.values())
    left = all_operations
    while left > operations:
        best: tuple[float, _Group, dict[nn.Module, Layer]] | None = None
        for group in groups:
            if not (block := group.next_block):
                continue
            smaller = _without(group, layers, block)
            saved = sum(
                (layers[part].operations - layer.operations) / all_operations
                + (layers[part].weights - layer.weights) / all_weights
                for part, layer in smaller.items()
            )
            if best is None or group.cost(block) / saved < best[0]:
                best = group.cost(block) / saved, group, smaller
        if best is None:
            raise ValueError(f"expected {left} multiplications or more to be left, found {operations}")
        _, group, smaller = best
        left -= sum(layers[part].operations - layer.operations for part, layer in smaller.items())
        layers.update(smaller)
        group.removed += group.next_block


def _without(group: _Group, layers: Mapping[nn.Module, Layer], block: int) -> dict[nn.Module, Layer]:
    """Returns the layers of a group without the channels of a block."""
    smaller: dict[nn.Module, Layer] = {}
    for part in group.writers:
        layer = smaller.get(part, layers[part])
        smaller[part] = replace(layer, outputs=layer.outputs - block)
    for part in group.readers:
        layer = smaller.get(part, layers[part])
        smaller[part] = replace(layer, inputs=layer.inputs - block)
    return smaller
