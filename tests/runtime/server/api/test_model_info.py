"""The response of /v1/model, from the model's spec."""

import hashlib
from dataclasses import replace

import pytest
from tests.runtime.artifacts.specs import FULL

from ctonnx.artifacts.caveats import caveats_of
from ctonnx.artifacts.decision.brightness import BrightnessRange
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.spec import describe_leakage
from ctonnx.prediction.predictor import Predictor
from ctonnx.server.api.model_info import model_facts, model_of_results
from ctonnx.server.settings import Settings


def test_facts_are_those_of_the_spec(predictor: Predictor) -> None:
    facts = model_facts(predictor, Settings(), version="1")
    assert facts["sha256"] == hashlib.sha256(predictor.path.read_bytes()).hexdigest()
    assert facts["metrics"] == predictor.spec.metrics
    assert (facts["run"], facts["precision"], facts["image_size"]) == ("tiny", "fp32", 64)
    assert facts["trained_on"].endswith(" images (synthetic phantoms: its predictions have no clinical meaning)")


SETS = PredictionSets(coverage=0.9, lowest={"normal": 0.3, "tumor": 0.4}, images={"normal": 20, "tumor": 20})


@pytest.mark.parametrize(("positive", "text"), [(("a",), "a reach"), (("a", "b"), "a + b together reach")])
def test_operating_point_has_a_readable_text(positive: tuple[str, ...], text: str, predictor: Predictor) -> None:
    point = OperatingPoint(positive=positive, threshold=0.25, sensitivity=0.9, specificity=0.8)
    before = predictor.spec
    try:
        predictor.spec = replace(before, classes=("a", "b", "c"), operating_point=point, prediction_sets=None)
        found = model_facts(predictor, Settings(key="k"), version="1")
        predictor.spec = replace(before, operating_point=None, prediction_sets=None)
        without = model_facts(predictor, Settings(), version="1")
    finally:
        predictor.spec = before
    assert found["operating_point"]["text"].startswith(f"suspicious if {text} 0.2500 or more (sensitivity 0.900")
    assert found["operating_point"]["normal"] == ", ".join(name for name in "abc" if name not in positive)
    assert found["key_required"] is True
    assert without["operating_point"] is None
    parts = ("coverage", "coverage_not_promised", "novelty", "fitted_on")
    named = {name: without[name] for name in ("name", "run", "precision", "sha256", "synthetic", *parts)}
    assert model_of_results(found) == {**named, "threshold": 0.25, "positive": list(positive)}
    assert model_of_results(without) == {**named, "threshold": None, "positive": []}


def test_leaks_are_described_as_in_the_model_card(predictor: Predictor) -> None:
    before = predictor.spec
    data = {**before.data, "leaks": {**before.data["leaks"], "leaked": {"valid": 3, "test": 0}}}
    try:
        predictor.spec = replace(before, data=data)
        found = model_facts(predictor, Settings(), version="1")
    finally:
        predictor.spec = before
    assert found["leaks"] == describe_leakage(data)
    assert found["leaks"].startswith("3 of 8 validation images have a copy")
    assert model_facts(predictor, Settings(), version="1")["leaks"] is None


def test_shortcuts_of_the_training_images_are_described_and_strong_ones_a_caveat(predictor: Predictor) -> None:
    before = predictor.spec
    shortcuts = {"verdict": "strong", "classes": {"normal": {"verdict": "strong", "auroc": 0.99, "facts": ["wider"]}}}
    try:
        predictor.spec = replace(before, shortcuts=shortcuts)
        found = model_facts(predictor, Settings(), version="1")
        predictor.spec = replace(before, shortcuts=None)
        without = model_facts(predictor, Settings(), version="1")
    finally:
        predictor.spec = before
    assert found["shortcuts"] == "shortcuts in the training images: strong for 'normal' (AUROC 0.990)"
    assert any("'normal' with an AUROC of 0.990 (wider)" in caveat for caveat in found["caveats"])
    assert without["shortcuts"] is None


def test_caveats_are_those_of_the_model(predictor: Predictor) -> None:
    caveats = model_facts(predictor, Settings(), version="1")["caveats"]
    assert caveats == caveats_of(predictor.spec)
    assert any(caveat.startswith("the operating point was fitted on ") for caveat in caveats)


def test_rule_of_the_decision_has_the_parts_of_the_model(predictor: Predictor) -> None:
    before = predictor.spec
    point = OperatingPoint(positive=("tumor",), threshold=0.25, sensitivity=0.9, specificity=0.8)
    sets = replace(SETS, images={"normal": 3, "tumor": 40})
    whole = replace(
        before,
        classes=("normal", "tumor"),
        operating_point=point,
        prediction_sets=sets,
        novelty=FULL.novelty,
        brightness=BrightnessRange(low=30, high=155, images=613),
    )
    facts = []
    try:
        bare = replace(whole, prediction_sets=None, novelty=None, brightness=None)
        for spec in (whole, bare, replace(whole, operating_point=None)):
            predictor.spec = spec
            facts.append(model_facts(predictor, Settings(), version="1"))
    finally:
        predictor.spec = before
    assert [found["decision"] for found in facts] == [
        "decisions rest on the operating point, the prediction sets, the novelty and the warnings about an image; an "
        "image is referred if it has a warning or its mean grey is below 20 or above 190 of 255 or its novelty is "
        "above the threshold (percentile 95.5 of the validation images) or its prediction set (fitted for 90% "
        "coverage) has suspicious and other classes or contradicts the score",
        "decisions rest on the operating point and the warnings about an image alone, without prediction sets and "
        "novelty; an image is referred if it has a warning",
        None,
    ]
    assert [found["coverage"] for found in facts] == [0.9, None, 0.9]
    assert [found["coverage_not_promised"] for found in facts] == [["normal"], [], ["normal"]]  # of 3 images
    assert facts[0]["novelty"] == {"threshold": 95.5, "quantile": 0.95, "percentile": 95.5}
    assert facts[1]["novelty"] is None
