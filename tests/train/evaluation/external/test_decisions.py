"""Decisions about many scans, and shares with intervals."""

import numpy as np
import pytest
from tests.train.grey_models import CLASSES, POINT
from tests.train.recalibration.test_fitting import NOVELTY

from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx_train.evaluation.external.decisions import decide_all, share_of, share_text

SETS = PredictionSets(coverage=0.9, lowest=dict.fromkeys(CLASSES, 0.3), images=dict.fromkeys(CLASSES, 40))
PROBABILITIES = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.1, 0.45, 0.45], [0.1, 0.35, 0.55]])


def test_decisions_follow_the_rule_of_a_single_scan() -> None:
    novelty = np.array([0.5, 0.5, 0.5, 0.5])
    assert decide_all(PROBABILITIES, None, CLASSES, POINT, None, None).tolist() == [
        "positive",
        "negative",
        "positive",
        "positive",
    ]
    found = decide_all(PROBABILITIES, novelty, CLASSES, POINT, SETS, NOVELTY)
    assert found.tolist() == ["positive", "negative", "refer", "refer"]
    found = decide_all(PROBABILITIES, np.array([2, 0.5, 2, np.nan]), CLASSES, POINT, None, NOVELTY)
    assert found.tolist() == ["refer", "negative", "refer", "refer"]
    assert decide_all(PROBABILITIES, novelty + 9, CLASSES, POINT, None, None)[0] == "positive"


def test_interval_is_wilsons() -> None:
    """Newcombe 1998, https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, table I."""
    share = share_of(np.arange(263) < 81)
    assert share["value"] == pytest.approx(0.308, abs=1e-3)
    assert share["interval"] == pytest.approx([0.2553, 0.3662], abs=1e-4)
    assert share["images"] == 263
    assert share_text(share) == "0.308 [0.255, 0.366]"
    nothing = share_of(np.empty(0, bool))
    assert (nothing, share_text(nothing)) == ({"value": None, "interval": None, "images": 0}, "-")
