"""The verdict on the operating point: holds, not shown, does not hold, or unknown."""

from dataclasses import replace

import numpy as np
import pytest
from tests.train.grey_models import POINT

from ctonnx_train.evaluation.external.verdict import judge_point
from ctonnx_train.evaluation.statistics.shares import Share, exact_share_of


def of(right: int, images: int) -> Share:
    return exact_share_of(np.arange(images) < right)


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "name"),
    [
        (of(498, 500), of(192, 200), "holds"),
        (of(498, 500), of(96, 100), "holds"),
        (of(498, 500), of(3, 3), "not shown"),
        (of(498, 500), of(92, 100), "not shown"),
        (of(10, 10), of(192, 200), "not shown"),
        (of(96, 100), of(96, 100), "not shown"),
        (of(0, 561), of(96, 100), "does not hold"),
        (of(498, 500), of(10, 100), "does not hold"),
        (of(498, 500), of(0, 0), "not shown"),
        (of(0, 561), of(0, 0), "does not hold"),
        (of(500, 500), of(0, 3), "does not hold"),
        (of(1, 1), of(0, 1), "not shown"),
        (of(0, 0), of(96, 100), "unknown"),
        (of(0, 0), of(10, 100), "does not hold"),
    ],
)
def test_verdict(sensitivity: Share, specificity: Share, name: str) -> None:
    assert judge_point(POINT, sensitivity, specificity).name == name


def test_sentences_have_the_numbers_and_the_bounds() -> None:
    assert judge_point(POINT, of(0, 561), of(0, 0)).sentence == (
        "the operating point does not hold here: sensitivity 0.000 [0.000, 0.007] on 561 positive scans, below the "
        "target of 0.95; specificity cannot be measured, as there are no negative scans"
    )
    assert judge_point(POINT, of(0, 0), of(1, 1)).sentence == (
        "it is unknown whether the operating point holds here: sensitivity cannot be measured, as there are no "
        "positive scans; specificity 1.000 [0.025, 1.000] on 1 negative scan, on both sides of 0.850, 0.1 below that "
        "of its fit"
    )
    assert judge_point(POINT, of(498, 500), of(3, 3)).sentence == (
        "it is not shown that the operating point holds here, as there are too few scans: sensitivity 0.996 [0.986, "
        "1.000] on 500 positive scans, at or above the target of 0.95; specificity 1.000 [0.292, 1.000] on 3 negative "
        "scans, on both sides of 0.850, 0.1 below that of its fit"
    )


@pytest.mark.parametrize(
    ("optimistic", "name"), [((), "holds"), (("the model was chosen by 3 of these scans", "it rains"), "not shown")]
)
def test_scans_that_the_model_knows_cannot_show_that_the_point_holds(optimistic: tuple[str, ...], name: str) -> None:
    found = judge_point(POINT, of(498, 500), of(192, 200), optimistic=optimistic)
    assert found.name == name
    reason = "holds here, as the model was chosen by 3 of these scans and it rains: sensitivity 0.996 "
    assert (reason in found.sentence) == bool(optimistic)
    assert judge_point(POINT, of(0, 561), of(0, 0), optimistic=optimistic).name == "does not hold"


def test_interval_is_not_rounded_across_its_bound_and_names_the_effective_number() -> None:
    sensitivity = exact_share_of(np.arange(561) < 546, np.repeat(np.arange(187), 3))
    point = replace(POINT, target_sensitivity=0.98804, specificity=0.9321)
    sentence = judge_point(point, sensitivity, of(96, 100)).sentence
    assert "on 561 positive scans (by their groups as 187.0 independent ones), " in sentence
    assert "the target of 0.98804;" in sentence
    edge = judge_point(replace(POINT, target_sensitivity=0.0066), of(0, 561), of(0, 0)).sentence
    assert "[0.000, 0.00655] on 561 positive scans, below the target of 0.0066;" in edge


def test_point_that_calls_every_scan_suspicious_does_not_hold_whatever_was_measured_when_it_was_fitted() -> None:
    """As after a recalibration of a score that separates nothing."""
    point = replace(POINT, specificity=0.04, specificity_interval=(0.0, 0.2))
    verdict = judge_point(point, of(105, 105), of(0, 105))
    assert verdict.name == "does not hold"
    assert verdict.sentence.endswith("0.000 [0.000, 0.035] on 105 negative scans, below 0.050, which chance reaches")
    assert judge_point(point, of(105, 105), of(0, 38)).name == "not shown"  # up to 0.092


def test_point_that_was_fitted_on_few_images_is_no_easier_to_hold() -> None:
    point = replace(POINT, specificity=0.9, specificity_interval=(0.2, 1.0))
    assert judge_point(point, of(500, 500), of(60, 100)).name == "does not hold"


def test_point_of_an_earlier_release_is_judged_by_its_own_values() -> None:
    point = replace(POINT, target_sensitivity=None, specificity_interval=None)
    verdict = judge_point(point, of(960, 1000), of(940, 1000))
    assert (verdict.name, "the target of 0.96" in verdict.sentence) == ("not shown", True)
    assert verdict.sentence.endswith("at or above 0.850, 0.1 below that of its fit")
    assert judge_point(point, of(960, 1000), of(820, 1000)).name == "does not hold"
