"""Fixtures of the recalibration's tests: scans of a site in memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ctonnx.prediction.cautions import Impression
from ctonnx_train.recalibration.scans import SiteScans


@pytest.fixture
def site() -> Callable[..., SiteScans]:
    """A function that makes scans of three classes whose logits have three times the scale that fits them."""

    def make(count: int = 300, *, seed: int = 0, scale: float = 3.0, novelty: bool = True, **changes: Any) -> SiteScans:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 3, count)
        logits = rng.normal(0, 1, (count, 3)) + 2 * np.eye(3)[labels]
        values: dict[str, Any] = {
            "classes": ("large cell", "normal", "tumor"),
            "labels": labels,
            "logits": (2 * scale * logits).astype(
                np.float32
            ),  # of unit noise and a mean of 2, the factor that fits is 2
            "novelty": rng.exponential(50, count).astype(np.float32) if novelty else None,
            "impressions": (Impression(None, 90.0),) * count,
            "groups": np.arange(count),
            "is_grouped": False,
            "pixels": np.empty((0, 32, 32, 3), np.uint8),
            "facts": {},
        }
        return SiteScans(**{**values, **changes})

    return make
