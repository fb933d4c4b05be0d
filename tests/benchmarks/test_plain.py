"""onnxruntime used plainly gives the predictor's answers."""

from pathlib import Path

import numpy as np

from ctonnx.golden import load_golden
from ctonnx.predictor import Predictor
from ctonnx_bench.peers.adapters import Opening
from ctonnx_bench.peers.adapters.plain import open_network


def test_answers_are_the_predictors(model: Path) -> None:
    pixels = load_golden(model.parent / "golden.npz").pixels[:2]
    found = open_network(Opening(model=model, provider="cpu", threads=1)).answer(pixels)
    with Predictor(model, threads=1) as predictor:
        np.testing.assert_array_equal(found.logits, predictor.predict_pixels(pixels).logits)
