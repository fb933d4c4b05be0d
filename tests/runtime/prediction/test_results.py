"""Predictions from outputs: score, verdict, representation."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.images import Preprocessing
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
    found = prediction_of(
        replace(spec, operating_point=point, prediction_sets=None, novelty=None), outputs, 0, source="a.png"
    )
    assert found is not None
    assert found.score is not None
    assert found.score == pytest.approx(sum(found.probabilities[name] for name in spec.classes[:2]))
    for threshold, suspicious in ((found.score, True), (float(np.nextafter(found.score, 1)), False)):
        at = replace(spec, operating_point=replace(point, threshold=threshold), prediction_sets=None, novelty=None)
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
        replace(spec, operating_point=point, prediction_sets=None, novelty=None),
        Outputs(shares, shares, np.zeros((1, 4, 2, 2), np.float32)),
        0,
        source="",
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
        ({"decision": "negative"}, "Prediction('a.png', 'tumor', 0.7500, decision='negative')"),
        (
            {"decision": "refer", "caution": "blank"},
            "Prediction('a.png', 'tumor', 0.7500, decision='refer', caution='blank')",
        ),
    ],
)
def test_prediction_is_printed_without_its_arrays(more: dict[str, Any], expected: str) -> None:
    named = {"tumor": 0.75, "normal": 0.25}
    assert (
        repr(Prediction("a.png", named, np.zeros(2, np.float32), np.zeros((2, 7, 7), np.float32), **more)) == expected
    )


CLASSES = ("normal", "tumor")
POINT = OperatingPoint(positive=("tumor",), threshold=0.5, sensitivity=1.0, specificity=1.0)
SETS = PredictionSets(coverage=0.9, lowest={"normal": 0.3, "tumor": 0.4}, images={"normal": 20, "tumor": 20})
NOVELTY = Novelty(
    threshold=10.0, quantile=0.95, quantiles=tuple(range(101)), images=72, training_images=613, components=64
)
BOTH = "the prediction set has both suspicious and other classes: normal, tumor"
NOVEL = "unlike the training images: its novelty is above the threshold"


def decided(
    share: float,
    *,
    novelty: float | None = None,
    caution: str | None = None,
    novelty_threshold: Novelty | None = None,
    **parts: Any,
) -> Prediction:
    """The prediction of a model with some parts for an image with a probability of `tumor`."""
    if novelty_threshold is not None:
        parts["novelty"] = novelty_threshold
    spec = ModelSpec(
        name="lungs", classes=CLASSES, preprocessing=Preprocessing(size=64), precision="fp32", created="",
        checkpoint_sha256="", data={}, synthetic=False, metrics={}, parity={}, versions={}, **parts,
    )  # fmt: skip
    shares = np.array([[1 - share, share]], np.float32)
    distance = None if novelty is None else np.array([novelty], np.float32)
    outputs = Outputs(shares, np.log(shares), np.zeros((1, 2, 2, 2), np.float32), distance)
    found = prediction_of(spec, outputs, 0, source="a.png", caution=caution)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("share", "more", "decision", "suspicious", "reason", "classes"),
    [
        (0.9, {}, "positive", True, None, ("tumor",)),
        (0.2, {}, "negative", False, None, ("normal",)),
        (0.65, {}, "refer", None, BOTH, CLASSES),
        (0.9, {"novelty": 10.0}, "positive", True, None, ("tumor",)),
        (0.9, {"novelty": 10.1}, "refer", None, NOVEL, ("tumor",)),
        (0.2, {"novelty": np.nan}, "refer", None, NOVEL, ("normal",)),
        (0.9, {"caution": "blank"}, "refer", None, "blank", ("tumor",)),
        (0.65, {"caution": "blank", "novelty": 11}, "refer", None, f"blank; {NOVEL}; {BOTH}", CLASSES),
    ],
)
def test_decision_has_its_reason_and_a_referred_image_is_neither_suspicious_nor_not(
    share: float,
    more: dict[str, Any],
    decision: str,
    suspicious: bool | None,
    reason: str | None,
    classes: tuple[str, ...],
) -> None:
    found = decided(share, operating_point=POINT, prediction_sets=SETS, novelty_threshold=NOVELTY, **more)
    assert (found.decision, found.suspicious, found.reason) == (decision, suspicious, reason)
    assert found.prediction_set == classes
    assert found.score == pytest.approx(share)
    document = found.as_dict()
    assert (document["decision"], document["suspicious"], document["reason"]) == (decision, suspicious, reason)
    assert document["set"] == list(classes)


def test_model_without_sets_and_novelty_is_decided_by_its_operating_point_and_cautions() -> None:
    found = decided(0.65, operating_point=POINT, novelty=1e9)
    assert (found.decision, found.prediction_set, found.as_dict()["set"]) == ("positive", None, None)
    assert decided(0.65, operating_point=POINT, caution="blank").reason == "blank"


def test_model_without_an_operating_point_decides_nothing_and_has_its_sets() -> None:
    found = decided(0.65, prediction_sets=SETS, caution="blank")
    assert (found.decision, found.reason, found.suspicious) == (None, None, None)
    assert found.prediction_set == CLASSES


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
