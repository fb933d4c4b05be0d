"""Each caveat of a model's metrics is reported if it applies, and only then."""

from dataclasses import replace
from typing import Any

import pytest
from tests.runtime.artifacts.specs import FULL, SMALL

from ctonnx.artifacts.caveats import (
    caveats_of,
    images_to_show,
    missing_checks,
    model_caveats,
    novelty_caveats,
    operating_point_caveats,
    patient_rule_caveats,
    prediction_set_caveats,
    split_caveats,
)
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.patient_rule import PatientRule
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.decision.shortcuts import shortcut_caveats

POINT = OperatingPoint(
    positive=("tumor",),
    threshold=0.5,
    sensitivity=0.99,
    specificity=0.9,
    target_sensitivity=0.95,
    sensitivity_bound=0.953,
    positive_images=100,
    negative_images=40,
)
GOOD: dict[str, Any] = {
    "accuracy": 0.9,
    "balanced_accuracy": 0.85,
    "per_class": {"normal": {"images": 60}, "tumor": {"images": 40}},
    "intervals": {"accuracy": [0.84, 0.95], "balanced_accuracy": [0.78, 0.92]},
}
FOUND = {"sensitivity": 0.52, "sensitivity_interval": [0.45, 0.59], "target_sensitivity": 0.95}


@pytest.mark.parametrize(("share", "images"), [(0.95, 59), (0.9, 29), (0.5, 5), (0.99, 299), (0.0, 1), (1.0, None)])
def test_the_number_of_images_that_show_a_share_is_the_smallest_whose_bound_reaches_it(
    share: float, images: int | None
) -> None:
    assert images_to_show(share) == images
    if images and share:
        assert 0.05 ** (1 / images) >= share > (0.05 ** (1 / (images - 1)) if images > 1 else 0)


def test_a_model_with_enough_images_and_good_metrics_has_no_caveats() -> None:
    assert model_caveats({"valid": GOOD, "test": GOOD | {"suspicious": FOUND | {"sensitivity_interval": [0.9, 0.97]}}},
                         POINT) == []  # fmt: skip


def test_a_point_of_an_earlier_release_has_no_caveat_about_its_images() -> None:
    old = OperatingPoint(positive=("tumor",), threshold=0.5, sensitivity=0.9, specificity=0.9, target_sensitivity=0.95)
    assert operating_point_caveats(old) == []
    assert operating_point_caveats(None) == []


def test_too_few_images_are_reported_with_the_required_number() -> None:
    few = replace(POINT, sensitivity_bound=0.8609, positive_images=20, negative_images=3)
    assert operating_point_caveats(few) == [
        "the operating point was fitted on 20 suspicious images, too few to show a sensitivity of 0.95 (59 or more can "
        "show it): the observed sensitivity reached it, the one-sided 95 % lower bound is 0.860",
        "the operating point was fitted on 3 images of other classes, too few to show a specificity of 0.9 (29 or "
        "more can show it)",
    ]


def test_a_point_no_better_than_chance_has_a_caveat() -> None:
    assert operating_point_caveats(replace(POINT, sensitivity=1.0, specificity=0.0)) == [
        "on the images that it was fitted on, the operating point is no better than chance: sensitivity 1.000, "
        "specificity 0.000"
    ]


def test_a_sensitivity_whose_whole_interval_lies_below_the_target_comes_after_chance() -> None:
    chance = GOOD | {"balanced_accuracy": 0.4, "intervals": {"balanced_accuracy": [0.3, 0.6], "accuracy": [0.8, 0.9]}}
    first, second = split_caveats(chance, FOUND, "test")
    assert first.startswith("the balanced accuracy of 0.400")
    assert second == (
        "on the test images the operating point found 0.520 [0.450, 0.590] of the suspicious ones: the whole interval "
        "lies below the target sensitivity of 0.95"
    )


@pytest.mark.parametrize("interval", [[0.45, 0.95], [0.9, 0.99], None])
def test_an_interval_that_reaches_the_target_has_no_caveat(interval: list[float] | None) -> None:
    assert split_caveats(GOOD, FOUND | {"sensitivity_interval": interval}, "test") == []


def test_a_network_no_better_than_chance_is_distinguished_from_one_not_shown_to_be() -> None:
    intervals = {"balanced_accuracy": [0.4, 0.6], "accuracy": [0.52, 0.7]}
    worse = GOOD | {"balanced_accuracy": 0.5, "accuracy": 0.6, "intervals": intervals}
    assert split_caveats(worse, None, "valid") == [
        "the balanced accuracy of 0.500 [0.400, 0.600] on the validation images is no better than chance (0.500)",
        "the accuracy of 0.600 [0.520, 0.700] on the validation images is no better than always naming the largest "
        "class, 'normal' (0.600)",
    ]
    unsure = worse | {"balanced_accuracy": 0.51, "accuracy": 0.61}
    assert [caveat.split(" on the validation images ")[1] for caveat in split_caveats(unsure, None, "valid")] == [
        "is not shown to be better than chance (0.500)",
        "is not shown to be better than always naming the largest class, 'normal' (0.600)",
    ]


def test_no_value_is_rounded_across_the_level_it_is_compared_with() -> None:
    found = {"sensitivity": 0.94996, "sensitivity_interval": [0.93, 0.94999], "target_sensitivity": 0.95}
    (caveat,) = split_caveats(GOOD, found, "test")
    assert "found 0.94996 [0.930, 0.94999] of the suspicious ones" in caveat
    unsure = GOOD | {
        "balanced_accuracy": 0.50004,
        "intervals": {"balanced_accuracy": [0.49998, 0.6], "accuracy": [0.8, 0.9]},
    }
    (caveat,) = split_caveats(unsure, None, "test")
    assert caveat.startswith("the balanced accuracy of 0.50004 [0.49998, 0.600] on the test images is not shown to be ")


def test_without_intervals_the_values_themselves_are_compared() -> None:
    assert split_caveats(GOOD | {"intervals": {}}, None, "all") == []
    (caveat,) = split_caveats(GOOD | {"intervals": {}, "accuracy": 0.59}, None, "all")
    assert caveat == (
        "the accuracy of 0.590 on the labelled images is no better than always naming the largest class, 'normal' "
        "(0.600)"
    )


def test_chance_counts_the_classes_that_have_images() -> None:
    three = {"normal": {"images": 50}, "tumor": {"images": 50}, "benign": {"images": 0}}
    metrics = GOOD | {"per_class": three, "balanced_accuracy": 0.45, "intervals": {}}
    (caveat,) = split_caveats(metrics, None, "test")
    assert caveat == "the balanced accuracy of 0.450 on the test images is no better than chance (0.500)"
    assert split_caveats(metrics | {"per_class": {"tumor": {"images": 9}}}, None, "test") == []


def test_the_test_images_are_judged_and_the_validation_images_only_without_them() -> None:
    bad = GOOD | {"balanced_accuracy": 0.2, "intervals": {}}
    assert model_caveats({"valid": bad, "test": GOOD}, POINT) == []
    assert "on the test images" in model_caveats({"valid": GOOD, "test": bad}, POINT)[0]
    assert "on the validation images" in model_caveats({"valid": bad}, POINT)[0]


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"test": None, "valid": 3},
        {"test": {"accuracy": "0.5", "per_class": {"a": {"images": True}, "b": None}, "intervals": []}},
        {"test": {"accuracy": 0.5, "per_class": [1], "suspicious": {"sensitivity": None}}},
        {
            "test": {
                "accuracy": 0.9,
                "per_class": {"a": {"images": 5}, "b": {"images": 4}},
                "intervals": {"accuracy": 1},
            }
        },
        {"test": {"suspicious": FOUND | {"sensitivity_interval": ["low", float("nan")]}}},
    ],
)
def test_invalid_metrics_have_no_caveats(metrics: dict[str, Any]) -> None:
    assert model_caveats(metrics, None) == []


SETS = PredictionSets(coverage=0.95, lowest={"normal": 0.1, "tumor": 0.2}, images={"normal": 13, "tumor": 40})
SETS_OF_FULL = PredictionSets(
    coverage=0.95, lowest=dict.fromkeys(FULL.classes, 0.1), images=dict.fromkeys(FULL.classes, 13)
)


def test_a_class_with_too_few_images_for_its_sets_is_reported_with_what_they_can_promise() -> None:
    few = (
        "too few validation images for prediction sets with a coverage of 0.95 (19 or more of a class can promise it): "
        "'normal' has 13; how often the set has its class is not promised"
    )
    assert prediction_set_caveats(SETS) == [few]
    assert model_caveats({"valid": GOOD}, POINT, SETS) == [few]
    assert model_caveats({"valid": GOOD}, POINT, replace(SETS, images={"normal": 19, "tumor": 40})) == []


@pytest.mark.parametrize(("interval", "reported"), [([0.61, 0.88], True), ([0.61, 0.96], False), (None, False)])
def test_a_coverage_that_is_below_the_promise_is_reported(interval: list[float] | None, reported: bool) -> None:
    coverage = {"tumor": {"share": 0.771, "share_interval": interval, "images": 35, "promised": 0.95}}
    metrics = {"test": GOOD | {"decisions": {"coverage": coverage}}}
    expected = [
        "of the test images of 'tumor', 0.771 [0.610, 0.880] have their class in the prediction set: the whole "
        "interval lies below the coverage of 0.950"
    ]
    assert model_caveats(metrics, POINT) == (expected if reported else [])


@pytest.mark.parametrize(("share", "reported"), [(0.72, True), (0.5, True), (0.4999, False), (None, False)])
def test_a_model_that_refers_most_images_is_reported_after_one_like_chance(share: float | None, reported: bool) -> None:
    decisions = {
        "referred_share": share,
        "referred_share_interval": [0.4, 0.8],
        "referred_by": {"set": 80, "novelty": 5},
    }
    (*found,) = model_caveats({"valid": GOOD | {"decisions": decisions}}, POINT)
    assert len(found) == reported
    if share == 0.72:
        assert found == [
            "the model refers 0.720 [0.400, 0.800] of the validation images (prediction set 80, novelty 5): a person "
            "must look at these, and its sensitivity and specificity among those decided do not hold for them"
        ]
        chance = GOOD | {"balanced_accuracy": 0.5, "intervals": {"balanced_accuracy": [0.4, 0.6]}}
        point = replace(POINT, positive_images=10, sensitivity_bound=0.7, sensitivity=0.95, specificity=0.05)
        starts = [text[:24] for text in model_caveats({"valid": chance | {"decisions": decisions}}, point)]
        assert starts == [
            "on the images that it wa",  # the operating point is no better than chance
            "the balanced accuracy of",
            "the model refers 0.720 [",
            "the operating point was ",
        ]


def test_a_novelty_threshold_of_too_few_images_is_reported() -> None:
    assert FULL.novelty is not None
    novelty = replace(FULL.novelty, images=18, patients=None, leaked_images_used=False)
    (few,) = novelty_caveats(novelty)
    assert few == (
        "the novelty threshold was fitted on 18 validation images, too few to promise that the share 0.95 of further "
        "ones like them is not flagged (19 or more can promise it): it may flag more"
    )
    assert model_caveats({}, None, novelty=novelty) == [few]
    assert novelty_caveats(replace(novelty, images=19)) == novelty_caveats(None) == []
    (never,) = novelty_caveats(replace(novelty, quantile=1.0), "scans of 'site'")
    assert "18 scans of 'site', too few" in never
    assert "(no number promises it)" in never


def test_a_novelty_threshold_of_leaked_images_is_reported() -> None:
    (leaked,) = novelty_caveats(FULL.novelty)
    assert leaked.startswith("the novelty threshold was also fitted on leaked images, as there were too few others")


def test_caveats_of_a_recalibrated_model_name_the_scans_that_its_values_were_fitted_on() -> None:
    caveats = caveats_of(replace(FULL, history=({"data": {"name": "site"}},), prediction_sets=SETS_OF_FULL))
    (few,) = [caveat for caveat in caveats if caveat.startswith("too few ")]
    assert few.startswith("too few scans of 'site' for prediction sets with a coverage of 0.95 (19 or more ")
    assert not any("validation images for" in caveat for caveat in caveats)


def test_the_parts_that_a_models_decisions_lack_are_named() -> None:
    assert missing_checks(FULL) is None
    assert missing_checks(SMALL) == (
        "this model has no operating point, no prediction sets and no novelty and no range of brightness: it makes no "
        "decisions; train again, and export, to have them"
    )
    assert missing_checks(replace(FULL, novelty=None)) == (
        "the decisions of this model rest on the operating point, the prediction sets and the warnings about an image "
        "alone, without novelty; train again, and export, to change that"
    )
    assert missing_checks(replace(FULL, novelty=None, prediction_sets=None)) == (
        "the decisions of this model rest on the operating point and the warnings about an image alone, without "
        "prediction sets and novelty; train again, and export, to change that"
    )
    assert missing_checks(replace(FULL, brightness=None)) == (
        "the decisions of this model rest on the operating point, the prediction sets, the novelty and the warnings "
        "about an image; nothing warns of an image far darker or brighter than the training images; train again, and "
        "export, to change that"
    )


def test_rule_for_patients_has_caveats_of_its_own() -> None:
    point = OperatingPoint(
        positive=("tumor",),
        threshold=0.5,
        sensitivity=1.0,
        specificity=0.5,
        target_sensitivity=0.95,
        sensitivity_bound=0.6878,
        positive_images=8,
        negative_images=1,
        leaked_images=2,
        leaked_images_used=True,
    )
    sets = PredictionSets(
        coverage=0.95, lowest={"normal": 0.1, "tumor": 0.1}, images={"normal": 1, "tumor": 8}, leaked_images_used=True
    )
    rule = PatientRule(aggregate="max", operating_point=point, prediction_sets=sets, patients=9)
    assert patient_rule_caveats(rule) == [
        "the operating point of patients was fitted on 8 suspicious patients, too few to show a sensitivity of 0.95 "
        "(59 or more can show it): the observed sensitivity reached it, the one-sided 95 % lower bound is 0.687",
        "the operating point of patients was fitted on 1 other patient, too few to show a specificity of 0.9 (29 or "
        "more can show it)",
        "the operating point of patients was also fitted on leaked patients, as there were too few others: 2 "
        "validation patients with an image, or a copy of one, in the training set; its metrics are optimistic",
        "too few validation patients for prediction sets of patients with a coverage of 0.95 (19 or more of a class "
        "can promise it): 'normal' has 1, 'tumor' has 8; how often the set has its class is not promised",
        "the prediction sets of patients were also fitted on leaked patients, as a class has no others: their "
        "coverage is optimistic",
    ]
    assert patient_rule_caveats(None) == []
    sharing = replace(point, negative_images=9, positive_patients=8, negative_patients=5, leaked_images_used=False)
    assert patient_rule_caveats(replace(rule, operating_point=sharing, prediction_sets=None))[1] == (
        "the operating point of patients was fitted on 9 other patients in 5 groups that share no slice, too few to "
        "show a specificity of 0.9 (29 or more can show it)"
    )


def test_sets_of_few_patients_promise_nothing_whatever_the_number_of_their_images() -> None:
    sets = PredictionSets(
        coverage=0.95,
        lowest={"normal": 0.1, "tumor": 0.1},
        images={"normal": 400, "tumor": 40},
        patients={"normal": 20, "tumor": 5},
    )
    assert prediction_set_caveats(sets) == [
        "too few patients of the validation images for prediction sets with a coverage of 0.95 (19 or more of a class "
        "can promise it): 'tumor' has 5; how often the set has its class is not promised"
    ]


def test_patients_below_the_target_and_the_coverage_have_caveats_of_their_own() -> None:
    suspicious = {"sensitivity": 0.666, "sensitivity_interval": [0.487, 0.808], "target_sensitivity": 0.95}
    coverage = {"tumor": {"share": 0.7, "share_interval": [0.521, 0.834], "promised": 0.95}}
    patients = {"suspicious": suspicious, "decisions": {"coverage": coverage}}
    expected = [
        "on the test patients the operating point found 0.666 [0.487, 0.808] of the suspicious ones: the whole "
        "interval lies below the target sensitivity of 0.95",
        "of the test patients of 'tumor', 0.700 [0.521, 0.834] have their class in the prediction set: the whole "
        "interval lies below the coverage of 0.950",
    ]
    assert split_caveats({}, None, "test", None, patients) == expected
    assert model_caveats({"test": {"patients": patients}}, None) == expected


def test_strong_shortcuts_are_among_the_caveats_of_a_model() -> None:
    shortcuts = {"verdict": "strong", "classes": {"tumor": {"verdict": "strong", "auroc": 0.99}}}
    assert model_caveats({"test": GOOD}, POINT, None, shortcuts) == shortcut_caveats(shortcuts)


def test_a_rule_for_patients_that_is_like_chance_is_the_first_of_its_caveats() -> None:
    point = replace(POINT, sensitivity=1.0, specificity=0.0)
    rule = PatientRule(aggregate="max", operating_point=point, patients=27)
    (caveat,) = [one for one in patient_rule_caveats(rule) if "no better than chance" in one]
    assert caveat.startswith("on the patients that it was fitted on, the operating point of patients is no better")
    assert patient_rule_caveats(rule)[0] == caveat
    assert model_caveats({}, None, rule=rule).count(caveat) == 1
