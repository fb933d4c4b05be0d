"""Counts of the images that a model's values are fitted on, the reference of `ctonnx drift`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctonnx.artifacts.decision.brightness import BrightnessRange
from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint, suspicion
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.decision.rule import decide_all
from ctonnx.artifacts.decision.usage import UsageReference, bins_of
from ctonnx.prediction.cautions import Impression

__all__ = ["one_of_each", "usage_of"]


def one_of_each(groups: Sequence[int] | NDArray[np.integer[Any]] | None, images: int, seed: int = 0) -> list[int]:
    """Returns the row of one image of each group, chosen at random, in ascending order; all rows without groups."""
    if groups is None:
        return list(range(images))
    order = np.random.default_rng(seed).permutation(images)
    _, first = np.unique(np.asarray(groups)[order], return_index=True)
    return sorted(order[first].tolist())


def usage_of(
    rows: Sequence[int],
    probabilities: NDArray[np.floating[Any]],
    classes: Sequence[str],
    *,
    impressions: Sequence[Impression],
    point: OperatingPoint | None,
    sets: PredictionSets | None,
    limit: Novelty | None,
    novelty: NDArray[np.floating[Any]] | None,
    brightness: BrightnessRange | None,
) -> UsageReference | None:
    """Returns the counts of the images in `rows`, as a server counts its images; None without images.

    Args:
        rows: Rows of the images to count.
        probabilities: Probabilities after the temperature, [images, classes].
        classes: Class names, in the order of the probabilities.
        impressions: Impression of each image, [images].
        point: Operating point; None if the model has none.
        sets: Prediction sets; None if the model has none.
        limit: Threshold of the novelty, fitted on these images; None if the model has none.
        novelty: Novelty, [images]; None if the model has none.
        brightness: Range of the mean grey values that the model knows.
    """
    decisions: list[str | None] = [None] * len(probabilities)
    scores: list[float | None] = [None] * len(probabilities)
    if point is not None:
        cautions = [seen.caution_of(brightness) for seen in impressions]
        found = decide_all(probabilities, classes, point, sets=sets, limit=limit, novelty=novelty, cautions=cautions)
        decisions = [decision.name for decision in found]
        scores = suspicion(probabilities, classes, point.positive).tolist()
    percentiles: list[float | None] = [None] * len(probabilities)
    if limit is not None and novelty is not None:
        percentiles = limit.percentiles(novelty).tolist()
    return UsageReference.of(
        bins_of(
            label=classes[int(probabilities[row].argmax())],
            decision=decisions[row],
            score=scores[row],
            novelty_percentile=percentiles[row],
            mean_grey=impressions[row].mean_grey,
            size=impressions[row].size,
        )
        for row in rows
    )
