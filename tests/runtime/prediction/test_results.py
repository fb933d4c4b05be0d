"""Predictions from outputs: score, verdict, representation."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.parity.outputs import Outputs
from ctonnx.prediction.predictor import Predictor
from ctonnx.prediction.results import Prediction, prediction_of


def test_prediction_matches_the_outputs(model: object) -> None:
    with Predictor(str(model)) as predictor:
        pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
        outputs = predictor.predict_pixels(pixels)
        found = prediction_of(predictor.spec, outputs, 1, source="b.png", frame=3)
        assert found is not None
        assert (found.source, found.frame) == ("b.png", 3)
        assert found.label == predictor.spec.classes[int(outputs.logits[1].argmax())]
        assert list(found.probabilities.values()) == sorted(found.probabilities.values(), reverse=True)
        assert not np.shares_memory(found.heatmap, outputs.heatmap)


def test_score_is_the_sum_that_decides_to_its_last_digit(model: object) -> None:
    """The threshold may be the score itself, and the next number above it."""
    with Predictor(str(model)) as predictor:
        outputs = predictor.predict_pixels(np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8))
        spec = predictor.spec
    point = OperatingPoint(positive=spec.classes[:2], threshold=0.0, sensitivity=1.0, specificity=1.0)
    found = prediction_of(replace(spec, operating_point=point), outputs, 0, source="a.png")
    assert found is not None
    assert found.score is not None
    assert found.score == pytest.approx(sum(found.probabilities[name] for name in spec.classes[:2]))
    for threshold, suspicious in ((found.score, True), (float(np.nextafter(found.score, 1)), False)):
        at = replace(spec, operating_point=replace(point, threshold=threshold))
        again = prediction_of(at, outputs, 0, source="a.png")
        assert again is not None
        assert (again.suspicious, again.score) == (suspicious, found.score)
    none = prediction_of(replace(spec, operating_point=None), outputs, 0, source="a.png")
    assert none is not None
    assert (none.suspicious, none.score) == (None, None)


def test_sum_above_one_is_a_score_of_one_and_decides_as_it_is(model: object) -> None:
    with Predictor(model) as predictor:  # type: ignore[arg-type]
        spec = predictor.spec
    shares = np.full((1, len(spec.classes)), np.float32(1 / 3), np.float32)  # three of them are 1.00000003 as float64
    above = float(shares[0, :3].astype(np.float64).sum())
    assert above > 1
    assert spec.operating_point is not None
    point = replace(spec.operating_point, positive=spec.classes[:3], threshold=above)
    found = prediction_of(
        replace(spec, operating_point=point), Outputs(shares, shares, np.zeros((1, 4, 2, 2), np.float32)), 0, source=""
    )
    assert found is not None
    assert (found.score, found.suspicious) == (1.0, True)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_give_no_prediction(value: float, model: object) -> None:
    with Predictor(str(model)) as predictor:
        outputs = predictor.predict_pixels(np.zeros((1, 64, 64, 3), np.uint8))
        wrong = Outputs(outputs.probabilities * np.float32(value), outputs.logits, outputs.heatmap)
        assert prediction_of(predictor.spec, wrong, 0, source="a.png") is None


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "Prediction('a.png', 'tumor', 0.7500)"),
        ({"suspicious": False}, "Prediction('a.png', 'tumor', 0.7500, suspicious=False)"),
        (
            {"suspicious": True, "caution": "blank"},
            "Prediction('a.png', 'tumor', 0.7500, suspicious=True, caution='blank')",
        ),
    ],
)
def test_prediction_is_printed_without_its_arrays(more: dict[str, Any], expected: str) -> None:
    named = {"tumor": 0.75, "normal": 0.25}
    assert (
        repr(Prediction("a.png", named, np.zeros(2, np.float32), np.zeros((2, 7, 7), np.float32), **more)) == expected
    )


def test_novelty_has_its_percentile_and_flag(model: object) -> None:
    with Predictor(model) as predictor:  # type: ignore[arg-type]
        outputs = predictor.predict_pixels(np.zeros((1, 64, 64, 3), np.uint8))
        spec = predictor.spec
    assert outputs.novelty is not None
    fitted = Novelty(
        threshold=95.0, quantile=0.95, quantiles=tuple(range(101)), images=40, training_images=80, components=9
    )

    def found(value: float) -> dict[str, Any]:
        given = replace(outputs, novelty=np.array([value], np.float32))
        prediction = prediction_of(replace(spec, novelty=fitted), given, 0, source="a.png")
        assert prediction is not None
        names = ("novelty", "novelty_percentile", "unlike_training")
        assert [prediction.novelty, prediction.novelty_percentile, prediction.is_novel] == [
            prediction.as_dict()[name] for name in names
        ]
        return {name: prediction.as_dict()[name] for name in names}

    assert found(12.5) == {"novelty": 12.5, "novelty_percentile": 12.5, "unlike_training": False}
    assert found(1e6) == {"novelty": 1e6, "novelty_percentile": 100.0, "unlike_training": True}
    assert found(np.nan) == {"novelty": None, "novelty_percentile": None, "unlike_training": True}


def test_model_without_novelty_has_none(model: object) -> None:
    with Predictor(model) as predictor:  # type: ignore[arg-type]
        outputs = predictor.predict_pixels(np.zeros((1, 64, 64, 3), np.uint8))
        spec = predictor.spec
    found = prediction_of(replace(spec, novelty=None), replace(outputs, novelty=None), 0, source="a.png")
    assert found is not None
    assert (found.novelty, found.novelty_percentile, found.is_novel) == (None, None, None)
