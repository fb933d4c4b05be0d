from dataclasses import replace

import numpy as np
import pytest
from tests.runtime.artifacts.decision.test_novelty import NOVELTY
from tests.runtime.artifacts.specs import POINT

from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.decision.rule import Decision, decide, decide_all

POSITIVE = ("adenocarcinoma", "tumor")


@pytest.mark.parametrize(("suspicious", "name"), [(True, "positive"), (False, "negative")])
def test_the_operating_point_decides_where_nothing_speaks_against_it(suspicious: bool, name: str) -> None:
    assert decide(suspicious, POSITIVE) == Decision(name)  # type: ignore[arg-type]
    in_set = ["tumor", "adenocarcinoma"] if suspicious else ["normal", "benign"]
    assert decide(suspicious, POSITIVE, classes_in_set=in_set) == Decision(name)  # type: ignore[arg-type]


def test_a_set_with_suspicious_and_other_classes_refers() -> None:
    found = decide(True, POSITIVE, classes_in_set=["normal", "tumor"])
    assert found == ("refer", "the prediction set has both suspicious and other classes: normal, tumor")


@pytest.mark.parametrize(
    ("suspicious", "in_set", "reason"),
    [
        (True, "normal", "the score reaches the threshold, but the prediction set has only normal"),
        (False, "tumor", "the score is below the threshold, but the prediction set has only tumor"),
    ],
)
def test_a_set_against_the_operating_point_refers(suspicious: bool, in_set: str, reason: str) -> None:
    assert decide(suspicious, POSITIVE, classes_in_set=[in_set]) == ("refer", reason)


def test_novelty_and_a_caution_refer_and_both_are_named() -> None:
    found = decide(False, POSITIVE, classes_in_set=["normal"], is_novel=True, caution="the image is blank")
    assert found.name == "refer"
    assert found.reason == "the image is blank; unlike the training images: its novelty is above the threshold"


CLASSES = ("a", "normal", "tumor")
PROBABILITIES = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.1, 0.45, 0.45], [0.1, 0.35, 0.55]])


def names(found: list[Decision]) -> list[str]:
    return [decision.name for decision in found]


def test_a_batch_is_decided_by_all_that_the_model_has() -> None:
    point = replace(POINT, positive=("a", "tumor"), threshold=0.5)
    sets = PredictionSets(coverage=0.9, lowest=dict.fromkeys(CLASSES, 0.3), images=dict.fromkeys(CLASSES, 40))
    assert names(decide_all(PROBABILITIES, CLASSES, point)) == ["positive", "negative", "positive", "positive"]
    found = decide_all(PROBABILITIES, CLASSES, point, sets=sets)
    assert names(found) == ["positive", "negative", "refer", "refer"]
    assert found[3].reason == "the prediction set has both suspicious and other classes: normal, tumor"
    novelty = np.array([96.0, 0.5, np.nan, 95.0])
    found = decide_all(PROBABILITIES, CLASSES, point, limit=NOVELTY, novelty=novelty)
    assert names(found) == ["refer", "negative", "refer", "positive"]
    assert names(decide_all(PROBABILITIES, CLASSES, point, novelty=novelty))[0] == "positive"
    cautions = [None, "the image is blank", None, None]
    assert decide_all(PROBABILITIES, CLASSES, point, cautions=cautions)[1] == ("refer", "the image is blank")
