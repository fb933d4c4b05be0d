"""The distance of an image from the training images, as a part of the exported network."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ctonnx_train.network.thumbnail import CELLS, cell_weights, some_rows

__all__ = ["NoveltyDistance"]

_CHANNELS = (1, 3)  # of grey pixels in a store, and of a model's input


class NoveltyDistance(nn.Module):
    """Novelty of images: the squared Mahalanobis distance from the nearest class of the training images.

    It is the sum of two distances. That of the pooled features depends on textures, but not on their place; that of a
    thumbnail of 8 x 8 cells depends on place and brightness. `fit_distance` of
    `ctonnx_train.evaluation.fitting.novelty` fits both; whitened vectors make the distance a sum of squares. It is
    divided by the distance of a typical training image of the class, so that 1 is ordinary for every class.

    Args:
        arrays: Float32 arrays by name. For each of `features` and `thumbnail`: `shift` [values], which is subtracted,
            `weight` [values, components], and `means` [classes, components]. `typical` [classes] is the median distance
            of each class's training images.
        size: Height and width of the images, in pixels.
    """

    typical: Tensor
    _down: Tensor

    def __init__(self, arrays: Mapping[str, NDArray[np.float32]], size: int) -> None:
        super().__init__()
        self.features = _Whitening(arrays, "features")
        self.thumbnail = _Whitening(arrays, "thumbnail")
        self.register_buffer("typical", torch.from_numpy(np.array(arrays["typical"], np.float32)))
        # Buffers move to a GPU with the module: a copy in each run would wait for it, and a CUDA graph allows none.
        height = len(range(size)[some_rows(size)])
        self._add_weights("_down", cell_weights(height).T)
        for channels in _CHANNELS:
            # A matrix product is faster than a mean over three channels; all of them count alike.
            columns = np.repeat(cell_weights(size).T, channels, axis=0) / channels
            self._add_weights(f"_across{channels}", columns)

    def forward(self, pooled: Tensor, pixels: Tensor) -> Tensor:
        """Returns the novelty, float32 [batch].

        Args:
            pooled: Pooled features, float32 [batch, features].
            pixels: Pixels of the same images, uint8 [batch, size, size, 3], or with one channel.
        """
        pixels = pixels[:, some_rows(pixels.shape[1])]
        batch, height, width, channels = pixels.shape
        across, down = (weights.to(pooled) for weights in (getattr(self, f"_across{channels}"), self._down))
        rows = (pixels.to(pooled.dtype).reshape(batch, height, width * channels) @ across).flatten(1)
        # From rows to cells and from cells to components in one product, whose matrix the export computes once.
        cells = self.thumbnail.weight.reshape(CELLS, -1)
        weight = (down @ cells).reshape(height * CELLS, -1)
        both = torch.cat([pooled @ self.features.weight, rows @ weight], 1)
        means = torch.cat([self.features.shifted_means(), self.thumbnail.shifted_means()], 1)
        difference = both.unsqueeze(1) - means
        # A product with ones, not `sum`: OpenVINO 2025.4 and 2026.4 divide a sum over the last dimension by the wrong
        # class's value.
        squared = (difference * difference) @ torch.ones_like(means[0])
        nearest: Tensor = (squared / self.typical).amin(1)
        return nearest

    def _add_weights(self, name: str, weights: NDArray[np.float64]) -> None:
        """Keeps weights that follow from the size, float64; the state does not contain them."""
        self.register_buffer(name, torch.from_numpy(weights), persistent=False)


class _Whitening(nn.Module):
    shift: Tensor
    weight: Tensor
    means: Tensor

    def __init__(self, arrays: Mapping[str, NDArray[np.float32]], part: str) -> None:
        super().__init__()
        for name in ("shift", "weight", "means"):
            self.register_buffer(name, torch.from_numpy(np.array(arrays[f"{part}.{name}"], np.float32)))

    def shifted_means(self) -> Tensor:
        """Returns the means of the classes in components of values that are not shifted: [classes, components]."""
        return self.means + self.shift @ self.weight
