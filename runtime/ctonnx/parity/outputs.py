"""The output arrays of a model for a batch of images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["NOVELTY", "OUTPUT_NAMES", "Outputs"]

OUTPUT_NAMES = ("probabilities", "logits", "heatmap")
"""Names of the outputs of every graph, in the order of the fields of `Outputs`."""

NOVELTY = "novelty"
"""Name of the fourth output, which the graphs of schema 1 lack."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """Outputs of a model for a batch of images.

    Attributes:
        probabilities: float32 [batch, classes], softmax of the logits divided by the temperature.
        logits: float32 [batch, classes], not divided by the temperature.
        heatmap: float32 [batch, classes, height / 32, width / 32], rounded up: Grad-CAM of each class on the last
            convolutional stage (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391), 0 or more, not normalized.
        novelty: float32 [batch], squared distance from the training images in the network's features; None if the graph
            has no such output.
    """

    probabilities: NDArray[np.float32]
    logits: NDArray[np.float32]
    heatmap: NDArray[np.float32]
    novelty: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.probabilities)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> "Outputs":
        """Returns the rows (images) that `rows` selects."""
        novelty = None if self.novelty is None else self.novelty[rows]
        return Outputs(self.probabilities[rows], self.logits[rows], self.heatmap[rows], novelty)

    @staticmethod
    def concatenate(batches: "list[Outputs]") -> "Outputs":
        """Concatenates batches along the first axis."""
        probabilities, logits, heatmap = (
            np.concatenate([getattr(batch, name) for batch in batches]) for name in OUTPUT_NAMES
        )
        novelty = [batch.novelty for batch in batches if batch.novelty is not None]
        return Outputs(probabilities, logits, heatmap, np.concatenate(novelty) if novelty else None)
