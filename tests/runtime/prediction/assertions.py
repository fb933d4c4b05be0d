"""Comparison of predictions, and the logits of several images."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Prediction, Record


def assert_same(found: Record, expected: Record, tolerance: float = 0.0) -> None:
    """Checks that two predictions are for the same source and differ by the tolerance at most."""
    assert isinstance(found, Prediction)
    assert isinstance(expected, Prediction)
    assert found.source == expected.source
    for name, value in expected.probabilities.items():
        assert found.probabilities[name] == pytest.approx(value, abs=tolerance, rel=0)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found.heatmap, expected.heatmap, rtol=0, atol=tolerance)


def logits_of(predictor: Predictor, scans: list[str]) -> list[NDArray[np.float32]]:
    return [predictor.predict(scan).logits for scan in scans]
