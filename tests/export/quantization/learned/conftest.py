"""Fixtures of the fine-tuning's tests: pictures to train on, and ranges that spoil a quantized model."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tests.export.builders import image_set

from ctonnx_export.image_sets import ImageSet
from ctonnx_export.quantization.calibration import Ranges, collect_ranges
from ctonnx_export.quantization.learned import fine_tuning
from ctonnx_export.quantization.qdq import quantized_tensors


class Narrow(Ranges):
    """Ranges a third as wide, like those of images that are much darker than others."""

    def of(self, calibrator: object) -> dict[str, tuple[float, float]]:
        return {name: (low / 3, high / 3) for name, (low, high) in super().of("minmax").items()}


@pytest.fixture
def large_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning rates with which the ranges of a small network can triple in a few steps."""
    monkeypatch.setattr(fine_tuning, "_LEARNING_RATES", {"values": 0.2, "scales": 0.03})


@pytest.fixture(scope="module")
def others() -> NDArray[np.uint8]:
    """Pictures that nothing is trained on, uint8 [40, 32, 32, 3]."""
    coarse = np.random.default_rng(2).integers(0, 256, (40, 8, 8, 1), np.uint8)
    return np.repeat(np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2), 3, axis=3)


@pytest.fixture(scope="module")
def images(scans: NDArray[np.uint8]) -> ImageSet:
    return image_set(scans, np.zeros(len(scans), np.int64))


@pytest.fixture(scope="module")
def narrow(small_model: onnx.ModelProto, scans: NDArray[np.uint8]) -> Ranges:
    """Ranges that clip most activations: a model that is quantized with them fails."""
    ranges = collect_ranges(small_model, quantized_tensors(small_model), [scans])
    ranges.__class__ = Narrow
    return ranges
