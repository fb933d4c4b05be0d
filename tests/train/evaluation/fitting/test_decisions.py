"""Decisions on labelled images: shares by kind of reason, metrics of the decided, coverage of the sets."""

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx_train.evaluation.fitting.decisions import decision_confidence, decision_metrics, risk_coverage

CLASSES = ("normal", "large cell", "squamous")
POINT = OperatingPoint(positive=("large cell", "squamous"), threshold=0.5, sensitivity=1.0, specificity=1.0)
SETS = PredictionSets(
    coverage=0.9,
    lowest={"normal": 0.3, "large cell": 0.2, "squamous": 0.35},
    images={"normal": 5, "large cell": 40, "squamous": 40},
)
# The sets: normal | normal and large | large and squamous | large | squamous and, by its own bound, normal | normal.
VALUES = np.array(
    [[0.9, 0.06, 0.04], [0.6, 0.3, 0.1], [0.1, 0.4, 0.5], [0.1, 0.8, 0.1], [0.35, 0.1, 0.55], [0.9, 0.05, 0.05]]
)
LABELS = np.array([0, 0, 1, 1, 2, 2])


def metrics(**more: Any) -> dict[str, Any]:
    found = decision_metrics(VALUES, LABELS, CLASSES, **{"point": POINT, "sets": SETS, **more})
    assert found is not None
    json.dumps(found)
    return found


def wilson(right: int, images: int) -> list[float]:
    interval = binomtest(right, images).proportion_ci(0.95, method="wilson")
    return [round(float(interval.low), 6), round(float(interval.high), 6)]


def test_the_decided_and_the_referred_are_counted_apart() -> None:
    found = metrics()
    assert (found["images"], found["referred"], found["referred_by"]) == (6, 2, {"set": 2})
    assert (found["referred_share"], found["referred_share_interval"]) == (0.333333, wilson(2, 6))
    assert (found["positive_referred"], found["negative_referred"]) == (1, 1)
    assert (found["sensitivity"], found["sensitivity_images"]) == (0.666667, 3)  # a squamous is called normal
    assert found["sensitivity_interval"] == wilson(2, 3)
    assert (found["specificity"], found["specificity_images"]) == (1.0, 1)


def test_coverage_is_counted_for_each_class_with_its_promise() -> None:
    found = metrics()
    assert found["set_size"] == 1.5
    assert found["coverage"] == {
        "normal": {"share": 1.0, "share_interval": wilson(2, 2), "images": 2, "promised": None},
        "large cell": {"share": 1.0, "share_interval": wilson(2, 2), "images": 2, "promised": 0.9},
        "squamous": {"share": 0.5, "share_interval": wilson(1, 2), "images": 2, "promised": 0.9},
    }


def test_novelty_and_cautions_refer_too_and_one_image_may_have_several_reasons() -> None:
    novel = np.array([False, True, False, False, False, True])
    caution = np.array([False, False, True, False, False, False])
    found = metrics(is_novel=novel, has_caution=caution)
    assert found["referred_by"] == {"set": 2, "novelty": 2, "caution": 1}
    assert found["referred"] == 4
    assert (found["sensitivity"], found["sensitivity_images"]) == (1.0, 1)
    assert metrics(is_novel=np.ones(6, bool))["specificity"] is None
    assert metrics(is_novel=np.ones(6, bool))["specificity_interval"] is None


def test_patients_of_whom_a_study_is_not_seen_are_not_negative() -> None:
    partial = np.array([True, False, True, False, False, False])
    found = metrics(sets=None, is_partial=partial)
    assert (found["referred"], found["referred_by"]) == (1, {"set": 0, "study": 1})
    assert metrics(sets=None)["referred_by"] == {"set": 0}


def test_without_sets_the_operating_point_decides_every_image() -> None:
    found = metrics(sets=None)
    assert (found["referred"], found["referred_by"]) == (0, {"set": 0})
    assert "coverage" not in found
    assert "set_size" not in found


def test_without_an_operating_point_there_are_no_decisions() -> None:
    assert decision_metrics(VALUES, LABELS, CLASSES, point=None, sets=SETS) is None


def test_the_surest_images_are_decided_first() -> None:
    decided, error = risk_coverage(VALUES.max(axis=1), VALUES.argmax(axis=1) != LABELS)
    # Confidence 0.9 (twice, one wrong), 0.8, 0.6, 0.55, 0.5 (wrong).
    assert decided.tolist() == pytest.approx([2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert error.tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 4, 1 / 5, 2 / 6])
    assert error[-1] == (VALUES.argmax(axis=1) != LABELS).mean()


def test_a_call_is_as_sure_as_its_score_is_far_from_the_threshold() -> None:
    distance, wrong = decision_confidence(VALUES, LABELS, CLASSES, POINT.positive, 0.5)
    assert wrong.tolist() == [False, False, False, False, False, True]
    scores = np.array([0.1, 0.4, 0.9, 0.9, 0.65, 0.1])
    np.testing.assert_allclose(distance, np.abs(np.log(scores / (1 - scores))), atol=1e-6)
    saturated, _ = decision_confidence(np.array([[0.0, 1.0, 0.0]]), np.array([1]), CLASSES, POINT.positive, 1.0)
    assert np.isfinite(saturated).all()


def test_intervals_are_wider_where_a_patients_images_are_alike() -> None:
    scores = np.tile([0.1, 0.9, 0.4, 0.8], 10)
    probabilities = np.stack([1 - scores, scores], axis=1)
    labels = np.tile([0, 1, 1, 0], 10)
    point = OperatingPoint(positive=("b",), threshold=0.5, sensitivity=1.0, specificity=1.0)
    sets = PredictionSets(coverage=0.9, lowest={"a": 0.3, "b": 0.3}, images={"a": 20, "b": 20})
    settings: dict[str, Any] = {"point": point, "sets": sets}
    alone = decision_metrics(probabilities, labels, ("a", "b"), **settings)
    grouped = decision_metrics(probabilities, labels, ("a", "b"), **settings, groups=np.arange(40) // 8)
    assert alone is not None
    assert grouped is not None

    def width(interval: list[float]) -> float:
        return interval[1] - interval[0]

    for name in ("referred_share", "sensitivity", "specificity"):
        assert grouped[name] == alone[name]
        assert width(grouped[f"{name}_interval"]) > width(alone[f"{name}_interval"])
    assert width(grouped["coverage"]["a"]["share_interval"]) > width(alone["coverage"]["a"]["share_interval"])
