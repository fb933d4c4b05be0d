"""Shares of scans, with their intervals."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ctonnx_train.evaluation.fitting.threshold import wilson_interval
from ctonnx_train.evaluation.metrics import as_text

__all__ = ["Share", "share_of", "share_text"]

Share: TypeAlias = dict[str, Any]
"""A share of scans: `value`, `interval` and `images`; the first two are None without images."""


def share_of(flags: NDArray[np.bool_]) -> Share:
    """Returns the share of scans with a flag, bool [images], with its 95 % Wilson score interval.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953.
    """
    interval = wilson_interval(flags)
    if interval is None:
        return {"value": None, "interval": None, "images": 0}
    return {"value": round(float(flags.mean()), 6), "interval": list(interval), "images": len(flags)}


def share_text(share: Share) -> str:
    """Returns a share as text such as `0.900 [0.850, 0.950]`, or `-`."""
    return as_text(share["value"], share["interval"])
