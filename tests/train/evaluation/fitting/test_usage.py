"""The reference of `ctonnx drift`: one image of each patient, counted as a server counts it."""

import numpy as np

from ctonnx.artifacts.decision.novelty import PERCENTILES, Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.prediction.cautions import Impression
from ctonnx_train.evaluation.fitting.usage import one_of_each, usage_of

POINT = OperatingPoint(positive=("tumor",), threshold=0.5, sensitivity=1.0, specificity=1.0)
LIMIT = Novelty(
    threshold=90.0,
    quantile=0.9,
    quantiles=tuple(np.linspace(0, 100, PERCENTILES).tolist()),
    images=9,
    training_images=9,
    components=3,
)


def test_one_image_of_each_patient_is_chosen_at_random() -> None:
    groups = [7, 7, 7, 3, 3, 9]
    found = {tuple(one_of_each(groups, 6, seed)) for seed in range(60)}
    assert all({groups[row] for row in rows} == {3, 7, 9} and len(rows) == 3 for rows in found)
    assert len(found) == 6  # all of 3 x 2 x 1
    assert one_of_each(None, 3) == [0, 1, 2]


def test_images_are_counted_by_what_the_model_decides_about_them() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [1.0, 0.0]])
    impressions = [Impression(None, 40.0, (64, 48)), Impression("blank", None, (64, 48)), *[Impression(None, 90.0)] * 2]
    found = usage_of(
        [0, 1, 2],
        probabilities,
        ["normal", "tumor"],
        impressions=impressions,
        point=POINT,
        sets=None,
        limit=LIMIT,
        novelty=np.array([12.0, 50.0, 95.0, 1.0]),
        brightness=None,
    )
    assert found is not None
    assert found.images == 3
    assert found.counts == {
        "class": {"normal": 1, "tumor": 2},
        "decision": {"negative": 1, "refer": 2},  # a warning, and a novelty above the threshold
        "score": {"0.10": 1, "0.70": 1, "0.80": 1},
        "novelty": {"10": 1, "50": 1, "95": 1},
        "brightness": {"40": 1, "88": 1},
        "size": {"64x48": 2},
    }


def test_model_without_a_decision_has_the_other_counts() -> None:
    found = usage_of(
        [0],
        np.array([[0.9, 0.1]]),
        ["a", "b"],
        impressions=[Impression(None, 1.0, (2, 2))],
        point=None,
        sets=None,
        limit=None,
        novelty=None,
        brightness=None,
    )
    assert found is not None
    assert set(found.counts) == {"class", "brightness", "size"}
