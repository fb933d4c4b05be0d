"""Plain onnxruntime computes the predictor's outputs."""

from pathlib import Path

import numpy as np

from ctonnx.artifacts.golden import load_golden
from ctonnx.prediction.predictor import Predictor
from ctonnx_bench.cases.adapters.adapter import Opening
from ctonnx_bench.cases.adapters.plain import open_network


def test_outputs_are_the_predictors(model: Path) -> None:
    pixels = load_golden(model.parent / "golden.npz").pixels[:2]
    found = open_network(Opening(model=model, provider="cpu", threads=1)).predict(pixels)
    with Predictor(model, threads=1) as predictor:
        np.testing.assert_array_equal(found.logits, predictor.predict_pixels(pixels).logits)
