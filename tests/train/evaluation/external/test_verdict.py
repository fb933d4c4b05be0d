"""The verdict on the operating point: holds, not shown, does not hold, or unknown."""

from dataclasses import replace

import numpy as np
import pytest
from tests.train.grey_models import POINT

from ctonnx_train.evaluation.external.shares import Share, share_of
from ctonnx_train.evaluation.external.verdict import judge_point


def of(right: int, images: int) -> Share:
    return share_of(np.arange(images) < right)


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "name"),
    [
        (of(498, 500), of(96, 100), "holds"),
        (of(96, 100), of(96, 100), "not shown"),
        (of(0, 561), of(96, 100), "does not hold"),
        (of(498, 500), of(10, 100), "does not hold"),
        (of(498, 500), of(0, 0), "not shown"),
        (of(0, 561), of(0, 0), "does not hold"),
        (of(500, 500), of(0, 3), "does not hold"),
        (of(0, 0), of(96, 100), "unknown"),
        (of(0, 0), of(10, 100), "does not hold"),
    ],
)
def test_verdict(sensitivity: Share, specificity: Share, name: str) -> None:
    assert judge_point(POINT, sensitivity, specificity).name == name


def test_sentences_have_the_numbers() -> None:
    assert judge_point(POINT, of(0, 561), of(0, 0)).sentence == (
        "the operating point does not hold here: sensitivity 0.000 [0.000, 0.007] on 561 positive scans where 0.95 was "
        "asked for; specificity cannot be measured, as there are no negative scans"
    )
    assert judge_point(POINT, of(0, 0), of(1, 1)).sentence == (
        "it is unknown whether the operating point holds here: sensitivity cannot be measured, as there are no "
        "positive scans; specificity 1.000 [0.207, 1.000] on 1 negative scan where 0.950 [0.900, 0.980] was measured "
        "when it was fitted"
    )


def test_point_that_calls_every_scan_suspicious_does_not_hold() -> None:
    """Whatever was measured when it was fitted: as after a recalibration of a score that separates nothing."""
    point = replace(POINT, specificity=0.04, specificity_interval=(0.0, 0.2))
    verdict = judge_point(point, of(105, 105), of(0, 38))
    assert verdict.name == "does not hold"
    assert verdict.sentence.endswith("; the two are no better than chance")


def test_point_of_an_earlier_release_is_judged_by_its_own_values() -> None:
    point = replace(POINT, target_sensitivity=None, specificity_interval=None)
    verdict = judge_point(point, of(960, 1000), of(940, 1000))
    assert (verdict.name, "where 0.96 was asked for" in verdict.sentence) == ("not shown", True)
    assert verdict.sentence.endswith("where 0.950 was measured when it was fitted")
    assert judge_point(point, of(960, 1000), of(930, 1000)).name == "does not hold"
