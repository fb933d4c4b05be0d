"""Counts of changed decisions: flips, referrals and classes, of all images and by class."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.train.stress.made import CLASSES, NOVELTY, POINT, SETS, evaluated_model

from ctonnx.parity.intervals import share_interval
from ctonnx_train.stress.changes import Answers, answers_of, count_changes, kinds_of_change

PROBABILITIES = np.array([[0.9, 0.06, 0.04], [0.2, 0.7, 0.1], [0.45, 0.3, 0.25]])
NO_CAUTION = (None, None, None)


def answers(*decisions: str, predicted: tuple[int, ...] = ()) -> Answers:
    return Answers(predicted=np.array(predicted or (0,) * len(decisions)), decisions=np.array(decisions))


def decided(novelty: Any = None, cautions: Any = NO_CAUTION, **parts: Any) -> list[str]:
    found = answers_of(evaluated_model(**parts), PROBABILITIES, novelty, cautions)
    assert found.predicted.tolist() == [0, 1, 0]
    assert found.decisions is not None
    decisions: list[str] = found.decisions.tolist()
    return decisions


def test_with_an_operating_point_alone_the_threshold_decides() -> None:
    assert decided() == ["negative", "positive", "positive"]


def test_prediction_sets_novelty_and_cautions_refer() -> None:
    novelty = np.array([200.0, 1, 1], np.float32)
    assert decided(prediction_sets=SETS) == ["negative", "positive", "refer"]
    assert decided(novelty, novelty_threshold=NOVELTY) == ["refer", "positive", "positive"]
    assert decided(cautions=(None, "the image is blank", None)) == ["negative", "refer", "positive"]


def test_a_threshold_of_novelty_without_its_output_and_the_reverse_refer_nothing() -> None:
    assert decided(None, novelty_threshold=NOVELTY) == ["negative", "positive", "positive"]
    assert decided(np.full(3, 1e9, np.float32)) == ["negative", "positive", "positive"]


def test_without_an_operating_point_only_classes_are_compared() -> None:
    model = evaluated_model(operating_point=None)
    found = answers_of(model, PROBABILITIES, None, NO_CAUTION)
    assert found.decisions is None
    counts = count_changes(found, found, np.array([0, 1, 2]), CLASSES)
    assert set(counts) == {"images", "class_changed", "by_class"}


def test_a_flip_a_referral_and_a_decision_are_separate() -> None:
    before = answers("positive", "negative", "positive", "refer", "refer", "negative")
    after = answers("negative", "positive", "refer", "negative", "refer", "negative")
    kinds = {name: flags.tolist() for name, flags in kinds_of_change(before, after).items()}
    assert kinds == {
        "decision_changed": [True, True, True, False, False, False],
        "flipped": [True, True, False, False, False, False],
        "newly_referred": [False, False, True, False, False, False],
        "newly_decided": [False, False, False, True, False, False],
        "class_changed": [False] * 6,
    }


def test_changed_decisions_flips_and_referrals_are_shares_of_those_decided_before_and_classes_of_all() -> None:
    before = answers("positive", "positive", "refer", "negative", predicted=(1, 1, 0, 0))
    after = answers("negative", "positive", "negative", "refer", predicted=(0, 1, 2, 0))
    found = count_changes(before, after, np.array([1, 1, 0, 0]), CLASSES)
    assert found["images"] == 4
    third = {"count": 1, "images": 3, "share": 1 / 3, "interval": [round(end, 6) for end in share_interval(1 / 3, 3)]}
    assert found["flipped"] == third | {"to_negative": 1}
    assert found["newly_referred"] == third
    assert (found["newly_decided"]["count"], found["newly_decided"]["images"]) == (1, 1)
    changed = found["decision_changed"]
    assert (changed["count"], changed["images"], changed["share"]) == (2, 3, 2 / 3)
    assert (found["class_changed"]["count"], found["class_changed"]["images"]) == (2, 4)
    assert list(found["by_class"]) == ["normal", "tumor"]  # no image of the third
    assert found["by_class"]["normal"]["images"] == 2
    assert found["by_class"]["normal"]["newly_referred"]["share"] == 1.0  # of the one that was decided
    assert found["by_class"]["tumor"]["flipped"]["share"] == 0.5
    assert found["by_class"]["tumor"]["newly_decided"] == {"count": 0, "images": 0, "share": None, "interval": None}


def test_scans_that_were_referred_anyway_do_not_dilute_the_changed_decisions() -> None:
    before, after = answers("positive", *["refer"] * 19), answers("negative", *["refer"] * 19)
    found = count_changes(before, after, np.zeros(20, int), CLASSES)
    assert (found["decision_changed"]["count"], found["decision_changed"]["share"]) == (1, 1.0)


def test_the_made_model_has_its_operating_point() -> None:
    assert evaluated_model().operating_point == POINT
    assert evaluated_model().path == Path("made.onnx")


@pytest.mark.parametrize("images", [1, 7])
def test_identical_answers_have_no_change(images: int) -> None:
    same = answers(*["positive"] * images)
    found = count_changes(same, same, np.zeros(images, int), CLASSES)
    assert found["flipped"]["count"] == found["class_changed"]["count"] == 0
