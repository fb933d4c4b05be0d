"""The novelty of a trained network: fitted on its training and validation images, measured on the test images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.system.text import Log
from ctonnx_train.data.leakage import Digests
from ctonnx_train.data.splits import Split, Splits
from ctonnx_train.evaluation.fitting.novelty import fit_distance, fit_threshold
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.inference import novelty_of, predict_features
from ctonnx_train.network.novelty import NoveltyDistance
from ctonnx_train.network.thumbnail import thumbnails
from ctonnx_train.training.loop.fit import Fitted
from ctonnx_train.training.preparation import Prepared
from ctonnx_train.training.recipe import TrainSettings
from ctonnx_train.training.results.out_of_fold import OutOfFold

__all__ = ["FittedNovelty", "fit_novelty"]

_BATCH = 32
_MOST_IMAGES = 5000  # training images: more do not change the distance, and their features take memory


@dataclass(frozen=True, kw_only=True)
class FittedNovelty:
    """The distance of an image from the training images, its threshold, and the novelty of each split's images."""

    distance: NoveltyDistance
    threshold: Novelty
    flags: Mapping[Split, NDArray[np.bool_]]
    values: Mapping[Split, NDArray[np.floating[Any]]]


def fit_novelty(
    network: CTClassifier,
    fitted: Fitted,
    prepared: Prepared,
    settings: TrainSettings,
    log: Log,
    *,
    out_of_fold: OutOfFold | None = None,
) -> FittedNovelty | None:
    """Fits the distance on the training images, each once and not augmented, and the threshold on validation images.

    Copies with different labels are left out of the training images, and validation images that leaked out of the
    threshold's. With `out_of_fold`, the threshold is fitted on its novelty. Returns None if the training images, or
    those of a fold, are too few.
    """
    data, store = prepared.data, prepared.store
    chosen = _distinct_rows(data.splits, store.digests)
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(len(chosen), _MOST_IMAGES)).astype(np.intp)]
    rows = [prepared.rows["train"][row] for row in chosen]
    features = predict_features(network, store, rows, device=fitted.device)
    cells = np.concatenate(
        [thumbnails(store.take(rows[start : start + _BATCH])) for start in range(0, len(rows), _BATCH)]
    )
    arrays = fit_distance(features, cells, np.array(prepared.labels("train"))[chosen])
    if arrays is None or (out_of_fold and out_of_fold.novelty is None):
        log("no novelty: it needs more training images, which differ")
        return None
    distance = NoveltyDistance(arrays, store.take(rows[:1]).shape[1])
    evaluated: tuple[Split, ...] = ("test",) if out_of_fold else ("valid", "test")
    values = {
        split: novelty_of(distance, predict_features(network, store, of_split, device=fitted.device), store, of_split)
        for split in evaluated
        if (of_split := prepared.rows[split])
    }
    if out_of_fold and out_of_fold.novelty is not None:
        values["valid"] = out_of_fold.novelty
    threshold = fit_threshold(
        values["valid"],
        np.array([sample in prepared.leaked_valid for sample in data.splits["valid"]]),
        quantile=settings.novelty_quantile,
        training_images=len(chosen),
        components=arrays["features.weight"].shape[1],
        groups=prepared.group_numbers("valid") if prepared.patients else None,
    )
    flags = {split: threshold.flags(novelty) for split, novelty in values.items()}
    return FittedNovelty(distance=distance, threshold=threshold, flags=flags, values=values)


def _distinct_rows(splits: Splits, digests: Digests) -> NDArray[np.intp]:
    """Returns the rows of the training samples to fit on: one of all copies, none if their labels differ.

    A class that has no other images keeps these: without a mean it would be far from all. The labels are those of the
    training and the validation images: test images have no part in a fit.
    """
    labels: dict[str, set[int]] = {}
    for sample in (*splits["train"], *splits["valid"]):
        labels.setdefault(digests[sample.path], set()).add(sample.label)
    distinct = {(digests[sample.path], sample.label): row for row, sample in enumerate(splits["train"])}
    agreed = {(digest, label): row for (digest, label), row in distinct.items() if len(labels[digest]) == 1}
    has_others = {label for _, label in agreed}
    kept = {row for (_, label), row in distinct.items() if label not in has_others}
    return np.array(sorted({*agreed.values(), *kept}), np.intp)
