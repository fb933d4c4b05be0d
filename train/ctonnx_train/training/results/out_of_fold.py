"""Predictions of images by networks that were trained without them."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from ctonnx_train.training.recipe import Phase

__all__ = ["OutOfFold", "describe_folds"]


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """Predictions of the folds' networks for images that they were not trained on, and the length of their training.

    Attributes:
        logits: Logits of each image, float32 [images, classes], in the order of the validation images.
        novelty: Novelty of each image from its network's training images, float32 [images]; None if a fold has none.
        phases: Phases of the training of the final network, on all images.
        folds: Number of images, best epoch, accuracy and macro AUROC of each fold.
        monitored: Number of the first validation images, those of one fold, that the final training shows metrics of.
        test_logits: Logits of the test images by each fold's network, float32 [folds, images, classes]; none of them
            was trained on these.
        test_novelty: Novelty of the test images from each network's training images, float32 [folds, images]; None if
            a fold has none.
    """

    logits: NDArray[np.float32]
    novelty: NDArray[np.float32] | None
    phases: tuple[Phase, ...]
    folds: tuple[Mapping[str, Any], ...]
    monitored: int
    test_logits: NDArray[np.float32]
    test_novelty: NDArray[np.float32] | None

    def ensemble_probabilities(self, temperature: float) -> NDArray[np.float64]:
        """Returns the mean of the networks' probabilities of the test images, float64 [images, classes]."""
        values: NDArray[np.float64] = softmax(self.test_logits.astype(np.float64) / temperature, axis=2).mean(axis=0)
        return values

    def ensemble_novelty(self) -> NDArray[np.float64] | None:
        """Returns the mean of the networks' novelty of the test images, float64 [images]; None without it."""
        return None if self.test_novelty is None else self.test_novelty.mean(axis=0, dtype=np.float64)


def describe_folds(folds: Sequence[Mapping[str, Any]]) -> str:
    """Returns the spread of the folds' metrics as a sentence.

    >>> describe_folds([{"accuracy": 0.5, "macro_auroc": None}, {"accuracy": 0.75, "macro_auroc": 0.9}])
    '2 folds, each by a network trained without it: accuracy 0.500 to 0.750, median 0.625; macro AUROC 0.900'
    """
    parts = []
    for name, title in (("accuracy", "accuracy"), ("macro_auroc", "macro AUROC")):
        values = sorted(fold[name] for fold in folds if fold.get(name) is not None)
        if len(values) > 1:
            spread = f"{values[0]:.3f} to {values[-1]:.3f}, median {statistics.median(values):.3f}"
        else:
            spread = f"{values[0]:.3f}" if values else "not defined"
        parts.append(f"{title} {spread}")
    return f"{len(folds)} folds, each by a network trained without it: {'; '.join(parts)}"
