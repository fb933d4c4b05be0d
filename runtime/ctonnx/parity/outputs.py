"""The output arrays of a model for a batch of images."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NOVELTY", "OUTPUT_NAMES", "Outputs", "output_names"]

OUTPUT_NAMES = ("probabilities", "logits", "heatmap")
"""Names of the outputs of every graph, in the order of the fields of `Outputs`."""

NOVELTY = "novelty"
"""Name of the fourth output, which the graphs of schema 1 lack."""


def output_names(found: Collection[str]) -> tuple[str, ...]:
    """Returns the names of a graph's outputs in the order of the fields of `Outputs`, with `novelty` if it is found.

    >>> output_names(["probabilities", "logits", "heatmap"])
    ('probabilities', 'logits', 'heatmap')
    """
    return (*OUTPUT_NAMES, NOVELTY) if NOVELTY in found else OUTPUT_NAMES


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

    @property
    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The arrays by name, in the order of the graph's outputs."""
        found = {name: getattr(self, name) for name in OUTPUT_NAMES}
        return found if self.novelty is None else {**found, NOVELTY: self.novelty}

    @staticmethod
    def read(arrays: Mapping[str, NDArray[Any]], prefix: str = "") -> "Outputs":
        """Returns the outputs of named arrays, as from `arrays`; their names may have a prefix.

        Raises:
            KeyError: If an array is missing; `novelty` may be.
        """
        probabilities, logits, heatmap = (arrays[prefix + name] for name in OUTPUT_NAMES)
        return Outputs(probabilities, logits, heatmap, arrays.get(prefix + NOVELTY))

    @staticmethod
    def concatenate(batches: "list[Outputs]") -> "Outputs":
        """Concatenates batches along the first axis."""
        probabilities, logits, heatmap = (
            np.concatenate([getattr(batch, name) for batch in batches]) for name in OUTPUT_NAMES
        )
        novelty = [batch.novelty for batch in batches if batch.novelty is not None]
        return Outputs(probabilities, logits, heatmap, np.concatenate(novelty) if novelty else None)
