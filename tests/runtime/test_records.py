"""What outputs say of one image."""

import numpy as np
import pytest

from ctonnx.outputs import Outputs
from ctonnx.predictor import Predictor
from ctonnx.records import answer


def test_answer_is_the_predictors(model: object) -> None:
    with Predictor(str(model)) as predictor:
        pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
        outputs = predictor.predict_pixels(pixels)
        found = answer(predictor.spec, outputs, 1, source="b.png", frame=3)
        assert found is not None
        assert (found.source, found.frame) == ("b.png", 3)
        assert found.label == predictor.spec.classes[int(outputs.logits[1].argmax())]
        assert list(found.probabilities.values()) == sorted(found.probabilities.values(), reverse=True)
        assert not np.shares_memory(found.heatmap, outputs.heatmap)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_numbers_are_no_answer(value: float, model: object) -> None:
    with Predictor(str(model)) as predictor:
        outputs = predictor.predict_pixels(np.zeros((1, 64, 64, 3), np.uint8))
        wrong = Outputs(outputs.probabilities * np.float32(value), outputs.logits, outputs.heatmap)
        assert answer(predictor.spec, wrong, 0, source="a.png") is None
