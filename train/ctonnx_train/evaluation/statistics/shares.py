"""Shares of images, with their intervals."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from ctonnx.parity.intervals import share_interval
from ctonnx.parity.rounding import cautious
from ctonnx_train.evaluation.statistics.metrics import LEVEL

__all__ = ["Share", "effective_number", "exact_share_of", "share_of", "share_text"]

Share: TypeAlias = dict[str, Any]
"""A share of images: `value`, `interval` and `images`; the first two are None without images.

With groups also `effective_images`.
"""


def effective_number(groups: Sequence[int] | NDArray[np.integer[Any]]) -> float:
    """Returns the effective number of images if all of a group were alike, n^2 / (n_1^2 + n_2^2 + ...).

    Source: Kish 1965, Survey Sampling.

    >>> effective_number([1, 1, 2, 2])
    2.0
    """
    return float(len(groups) ** 2 / (np.unique(np.asarray(groups), return_counts=True)[1] ** 2).sum())


def share_of(flags: NDArray[np.bool_], groups: Sequence[int] | NDArray[np.integer[Any]] | None = None) -> Share:
    """Returns the share of images with a flag, bool [images], with its 95 % Wilson score interval.

    With the groups of the images, such as patients, the interval is that of the `effective_number` of images: the
    largest loss of precision that groups can cause.

    >>> share_of(np.array([True, True, False, False]), groups=[1, 1, 2, 2])["interval"]  # as of two images
    [0.094531, 0.905469]
    """
    if not len(flags):
        return {"value": None, "interval": None, "images": 0}
    share, images = float(flags.mean()), float(len(flags))
    found: Share = {"value": round(share, 6), "images": len(flags)}
    if groups is not None:
        images = effective_number(groups)
        found["effective_images"] = round(images, 3)
    return {**found, "interval": [round(end, 6) for end in share_interval(share, images)]}


def exact_share_of(flags: NDArray[np.bool_], groups: Sequence[int] | NDArray[np.integer[Any]] | None = None) -> Share:
    """Returns `share_of` with the exact 95 % interval: that of few images must not be too narrow for a verdict.

    Source: Clopper and Pearson 1934, https://doi.org/10.1093/biomet/26.4.404

    >>> exact_share_of(np.array([True] * 59))["interval"]
    [0.939391, 1.0]
    """
    share = share_of(flags, groups)
    if share["interval"] is not None:
        images = share.get("effective_images", share["images"])
        right, wrong = images * share["value"], images * (1 - share["value"])
        low = float(beta.ppf((1 - LEVEL) / 2, right, wrong + 1)) if right else 0.0
        high = float(beta.ppf((1 + LEVEL) / 2, right + 1, wrong)) if wrong else 1.0
        share["interval"] = [round(low, 6), round(high, 6)]
    return share


def share_text(share: Share, *, up: bool = False) -> str:
    """Returns a share as text such as `0.900 [0.850, 0.950]`, rounded down or, if a higher one is worse, up; or `-`."""
    return cautious(share["value"], share["interval"], up=up)
