"""The adapter of ctonnx divides a batch between its workers."""

from pathlib import Path

import numpy as np

from ctonnx.artifacts.golden import load_golden
from ctonnx.prediction.predictor import Predictor
from ctonnx_bench.cases.adapters.adapter import Opening
from ctonnx_bench.cases.adapters.predictor import open_network


def test_outputs_of_several_workers_are_those_of_one(model: Path) -> None:
    pixels = load_golden(model.parent / "golden.npz").pixels[:4]
    found = open_network(Opening(model=model, provider="cpu", threads=2, workers=2)).predict(pixels)
    with Predictor(model, threads=1) as predictor:
        np.testing.assert_allclose(found.logits, predictor.predict_pixels(pixels).logits, atol=1e-4)
