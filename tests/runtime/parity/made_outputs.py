"""Outputs and comparisons with chosen values."""

from typing import Any

import numpy as np

from ctonnx.parity.comparison import Parity
from ctonnx.parity.outputs import Outputs


def outputs(probabilities: Any, logits: Any = None, heatmap: Any = None) -> Outputs:
    """Returns outputs; logits and heatmap are zeros by default."""
    given = np.array(probabilities, np.float32)
    return Outputs(
        given,
        np.zeros(given.shape, np.float32) if logits is None else np.array(logits, np.float32),
        np.zeros((*given.shape, 2, 2), np.float32) if heatmap is None else np.array(heatmap, np.float32),
    )


def parity(**changes: Any) -> Parity:
    """Returns the comparison of two equal models, with changes."""
    same: dict[str, Any] = {
        "images": 4, "agreement": 1.0, "max_dp": 0.0, "mean_dp": 0.0, "max_dlogit": 0.0, "max_dheatmap": 0.0,
        "heatmap_correlation": 1.0, "lowest_heatmap_correlation": 1.0,
    }  # fmt: skip
    return Parity(**{**same, **changes})
