"""The novelty of a trained network: fitted on its training and validation images, measured on the test images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.system.text import Log
from ctonnx_train.data.splits import Split
from ctonnx_train.evaluation.fitting.novelty import fit_distance, fit_threshold
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.inference import novelty_of, predict_features
from ctonnx_train.network.novelty import NoveltyDistance
from ctonnx_train.network.thumbnail import thumbnails
from ctonnx_train.training.loop.fit import Fitted
from ctonnx_train.training.preparation import Prepared
from ctonnx_train.training.recipe import TrainSettings

__all__ = ["FittedNovelty", "fit_novelty"]

_BATCH = 32
_MOST_IMAGES = 5000  # training images: more do not change the distance, and their features take memory


@dataclass(frozen=True, kw_only=True)
class FittedNovelty:
    """The distance of an image from the training images, its threshold, and the flagged images of each split."""

    distance: NoveltyDistance
    threshold: Novelty
    flags: Mapping[Split, NDArray[np.bool_]]


def fit_novelty(
    network: CTClassifier, fitted: Fitted, prepared: Prepared, settings: TrainSettings, log: Log
) -> FittedNovelty | None:
    """Fits the distance on the training images, each once and not augmented, and the threshold on validation images.

    Validation images that leaked are left out of the threshold's. Returns None if the training images are too few.
    """
    data, store, digests = prepared.data, prepared.store, prepared.store.digests
    distinct = {digests[sample.path]: row for row, sample in enumerate(data.splits["train"])}
    chosen = np.array(sorted(distinct.values()))
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), _MOST_IMAGES)).astype(np.intp)]
    rows = [prepared.rows["train"][row] for row in chosen]
    features = predict_features(network, store, rows, device=fitted.device)
    cells = np.concatenate(
        [thumbnails(store.take(rows[start : start + _BATCH])) for start in range(0, len(rows), _BATCH)]
    )
    arrays = fit_distance(features, cells, np.array(prepared.labels("train"))[chosen])
    if arrays is None:
        log("no novelty: it needs more training images, which differ")
        return None
    distance = NoveltyDistance(arrays)
    evaluated: tuple[Split, ...] = ("valid", "test")
    values = {
        split: novelty_of(distance, predict_features(network, store, of_split, device=fitted.device), store, of_split)
        for split in evaluated
        if (of_split := prepared.rows[split])
    }
    threshold = fit_threshold(
        values["valid"],
        np.array([sample in prepared.leaked_valid for sample in data.splits["valid"]]),
        quantile=settings.novelty_quantile,
        training_images=len(chosen),
        components=arrays["features.weight"].shape[1],
    )
    flags = {split: threshold.flags(novelty) for split, novelty in values.items()}
    return FittedNovelty(distance=distance, threshold=threshold, flags=flags)
