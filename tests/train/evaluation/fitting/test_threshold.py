"""The threshold of "suspicious": chosen on validation scores, in the gap, and measured with intervals."""

import json
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax
from scipy.stats import binomtest

from ctonnx.artifacts.caveats import operating_point_caveats
from ctonnx.artifacts.decision.operating_point import OperatingPoint, suspicion
from ctonnx.errors import DataError
from ctonnx_train.evaluation.fitting.threshold import (
    NEGATIVE_CLASSES,
    fit_operating_point,
    operating_metrics,
    positive_classes,
    suspicious_metrics,
    without_leaks,
)

CLASSES = ("adenocarcinoma", "benign", "normal", "squamous cell carcinoma")


def sums(*values: float) -> NDArray[np.float64]:
    """Probabilities of `negative` and `positive`, from those of the positive class."""
    return np.array([[1 - value, value] for value in values])


def fitted(values: list[float], labels: list[int], sensitivity: float) -> OperatingPoint:
    point = fit_operating_point(
        sums(*values), np.array(labels), ("negative", "positive"), ("positive",), sensitivity=sensitivity
    )
    assert point
    return point


def between(low: float, high: float) -> float:
    """The middle of two scores in logits."""
    return float(expit((logit(low) + logit(high)) / 2))


@pytest.mark.parametrize(
    ("classes", "chosen", "positive"),
    [
        (CLASSES, (), ("adenocarcinoma", "squamous cell carcinoma")),
        (CLASSES, ("squamous cell carcinoma", "benign"), ("benign", "squamous cell carcinoma")),
        (("a", "b"), (), ()),
        (("benign", "normal"), (), ()),
        (("benign", "normal"), ("benign",), ("benign",)),
        (("benign", "malignant", "normal"), (), ("malignant",)),
    ],
)
def test_all_classes_but_normal_and_benign_are_suspicious_or_those_chosen(
    classes: tuple[str, ...], chosen: tuple[str, ...], positive: tuple[str, ...]
) -> None:
    assert NEGATIVE_CLASSES == ("normal", "benign")
    assert positive_classes(classes, chosen) == positive


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            ("cancer", "normal"),
            "expected --positive to name one of the classes adenocarcinoma, benign, normal, squamous cell carcinoma, "
            "found 'cancer'",
        ),
        (CLASSES, "expected --positive to leave out one class at least, found all classes named"),
    ],
)
def test_a_choice_that_cannot_be_is_rejected(chosen: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError) as caught:
        positive_classes(CLASSES, chosen)
    assert str(caught.value) == message


def normal(*logits: float) -> list[float]:
    """Scores whose logits are these."""
    return [float(value) for value in expit(np.array(logits))]


def test_two_groups_far_apart_have_the_threshold_in_the_middle_of_their_gap_in_logits() -> None:
    """The highest threshold with 0.95 would be among the positive scores, and needlessly miss 5 %."""
    rng = np.random.default_rng(0)
    negative, positive = rng.normal(-5, 1, 40), rng.normal(6, 2, 40)
    point = fitted(normal(*negative, *positive), [0] * 40 + [1] * 40, 0.95)
    assert negative.max() < positive.min()
    assert point.threshold == pytest.approx(expit((negative.max() + positive.min()) / 2), rel=1e-4)
    assert (point.sensitivity, point.specificity) == (1.0, 1.0)
    assert point.gap == pytest.approx((expit(negative.max()), expit(positive.min())), rel=1e-6)


def test_a_lone_positive_below_the_negatives_is_given_up_and_the_gap_above_them_is_taken() -> None:
    values = normal(-6, -4, -3, -2, *[-9] * 1, *np.linspace(3, 12, 19))
    point = fitted(values, [0] * 4 + [1] * 20, 0.95)
    assert point.threshold == pytest.approx(expit(0.5), rel=1e-4)  # between -2 and 3
    assert (point.sensitivity, point.specificity) == (0.95, 1.0)


def test_overlapping_groups_keep_the_sensitivity_and_take_the_best_specificity() -> None:
    values, labels = [0.9, 0.8, 0.6, 0.3, 0.7, 0.5, 0.2, 0.1], [1, 1, 1, 1, 0, 0, 0, 0]
    point = fitted(values, labels, 0.75)
    assert point.threshold == pytest.approx(between(0.5, 0.6))
    assert (point.sensitivity, point.specificity, point.target_sensitivity) == (0.75, 0.75, 0.75)
    assert point.positive == ("positive",)
    lower = fitted(values, labels, 0.76)
    assert lower.threshold == pytest.approx(between(0.2, 0.3))
    assert (lower.sensitivity, lower.specificity) == (1.0, 0.5)


def test_positives_between_the_last_needed_one_and_the_next_negative_are_found_too() -> None:
    """Three of four would do, but missing the fourth gains nothing: no negative lies between it and the third."""
    point = fitted([0.9, 0.8, 0.7, 0.6, 0.2], [1, 1, 1, 1, 0], 0.75)
    assert point.threshold == pytest.approx(between(0.2, 0.6))
    assert point.sensitivity == 1.0


def test_images_of_one_score_are_on_one_side_of_the_threshold() -> None:
    point = fitted([0.5, 0.5, 0.5, 0.5, 0.25], [1, 1, 0, 0, 0], 0.95)
    assert point.threshold == pytest.approx(between(0.25, 0.5))
    assert (point.sensitivity, point.specificity) == (1.0, 0.333333)
    same = fitted([0.5, 0.5], [1, 0], 0.95)
    assert (same.threshold, same.sensitivity, same.specificity) == (0.25, 1.0, 0.0)


def test_a_single_positive_image_is_enough_and_gives_a_caveat() -> None:
    point = fitted([0.75, 0.25, 0.125], [1, 0, 0], 0.95)
    assert point.threshold == pytest.approx(0.5)
    assert (point.positive_images, point.negative_images) == (1, 2)
    assert point.sensitivity_bound == pytest.approx(0.05)
    assert operating_point_caveats(point) == [
        "the operating point was fitted on 1 suspicious image, too few to show a sensitivity of 0.95 (59 or more can "
        "show it): the observed sensitivity reached it, the one-sided 95 % lower bound is 0.050",
        "the operating point was fitted on 2 images of other classes, too few to show a specificity of 0.9 (29 or more "
        "can show it)",
    ]


def test_where_the_images_suffice_the_bound_of_the_sensitivity_reaches_the_target() -> None:
    """Of 100 positive images, five may be missed for 0.95; the bound of 99 is 0.953, and that of 98 is 0.938."""
    positive = np.linspace(-3, 9, 100)
    negative = np.linspace(-8, 2, 100)
    point = fitted(normal(*negative, *positive), [0] * 100 + [1] * 100, 0.95)
    assert point.sensitivity == 0.99
    assert point.sensitivity_bound == pytest.approx(binomtest(99, 100).proportion_ci(0.9, "exact").low)
    assert point.sensitivity_bound is not None
    assert point.sensitivity_bound >= 0.95
    assert operating_point_caveats(point) == []


@pytest.mark.parametrize(("images", "found"), [(58, 56), (59, 59), (93, 92), (92, 92)])
def test_the_observed_sensitivity_counts_only_where_no_bound_can_reach_the_target(images: int, found: int) -> None:
    """58 of 58 have a bound of 0.9497: 56 of 58, 0.966 observed, is the least that reaches 0.95."""
    scores = np.linspace(0.2, 0.9, 2 * images)  # negative and positive ones by turns: each miss gains specificity
    point = fitted(scores.tolist(), [0, 1] * images, 0.95)
    assert point.sensitivity == pytest.approx(found / images, abs=1e-6)


def test_a_target_of_one_misses_none_and_no_number_of_images_shows_it() -> None:
    point = fitted(np.linspace(0.01, 0.99, 200).tolist(), [0, 1] * 100, 1.0)
    assert point.sensitivity == 1.0
    assert operating_point_caveats(point)[0] == (
        "the operating point was fitted on 100 suspicious images, too few to show a sensitivity of 1 (no number of "
        "images shows it): the observed sensitivity reached it, the one-sided 95 % lower bound is 0.970"
    )


def test_the_middle_in_logits_is_found_where_sums_are_rounded_to_one() -> None:
    """With logits of 20 and 30 both sums are 1 to float32: such images are indistinguishable."""
    probabilities = softmax(np.array([[0.0, -8.0], [0.0, 9.0], [0.0, 20.0], [0.0, 30.0]]), axis=1)
    point = fit_operating_point(
        probabilities, np.array([0, 0, 1, 1]), ("negative", "positive"), ("positive",), sensitivity=0.95
    )
    assert point
    assert point.threshold == pytest.approx(expit(14.5), abs=1e-9)
    assert point.threshold < 1
    assert (point.sensitivity, point.specificity) == (1.0, 1.0)


def test_every_threshold_is_reported_from_its_neighbours_as_a_float32_sum() -> None:
    probabilities = softmax(np.array([[0.0, 15.0], [0.0, 17.5]]), axis=1)
    point = fit_operating_point(probabilities, np.array([0, 1]), ("negative", "positive"), ("positive",))
    assert point
    sums = suspicion(probabilities, ("negative", "positive"), ("positive",))
    assert sums[0] < point.threshold <= sums[1]


@pytest.mark.parametrize("sensitivity", [0.5, 0.8, 0.9, 0.95, 0.99, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_no_other_threshold_that_reaches_the_sensitivity_has_a_better_specificity_or_then_sensitivity(
    sensitivity: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(60) % 2)
    values = np.round(np.clip(rng.normal(0.35 + 0.3 * labels, 0.2), 0, 1), 2)
    point = fitted(values.tolist(), labels.tolist(), sensitivity)
    positive, negative = values[labels == 1], values[labels == 0]

    def reached(threshold: float) -> float:
        found = int((positive >= threshold).sum())
        low = binomtest(found, len(positive)).proportion_ci(0.9, "exact").low
        return low if 0.05 ** (1 / len(positive)) >= sensitivity else found / len(positive)

    others = [0.0, *(np.unique(values) + 1e-6)]
    best = max(
        ((negative < other).mean(), (positive >= other).mean()) for other in others if reached(other) >= sensitivity
    )
    assert reached(point.threshold) >= sensitivity
    assert ((negative < point.threshold).mean(), (positive >= point.threshold).mean()) == best


def test_images_with_a_copy_in_the_training_set_do_not_fit_the_threshold() -> None:
    values, labels = [0.9, 0.8, 0.3, 0.02, 0.01], [1, 1, 0, 0, 0]
    leaked = np.array([False, False, False, True, True])
    point = fit_operating_point(sums(*values), np.array(labels), ("negative", "positive"), ("positive",), leaked=leaked)
    assert point
    assert point.threshold == pytest.approx(between(0.3, 0.8))
    assert (point.positive_images, point.negative_images) == (2, 1)
    assert (point.leaked_images, point.leaked_images_used) == (2, False)


@pytest.mark.parametrize(
    ("kinds", "leaked", "used"),
    [
        ([0, 0, 1, 1], [True, False, True, False], [False, True, False, True]),
        ([0, 0, 1, 1], [True, True, True, False], [True] * 4),
        ([0, 0, 1, 1], [True] * 4, [True] * 4),
        ([0, 1, 2, 2], [False, False, True, True], [True, True, False, False]),
    ],
)
def test_leaked_images_are_used_only_where_the_others_are_of_one_kind(
    kinds: list[int], leaked: list[bool], used: list[bool]
) -> None:
    assert without_leaks(np.array(kinds), np.array(leaked)).tolist() == used
    assert without_leaks(np.array(kinds), None).all()


def test_a_value_may_need_more_images_of_each_kind_that_did_not_leak() -> None:
    """A temperature that is fitted on one image of each kind is of no use: it was 1 where 2.47 fits all of them."""
    kinds = np.arange(200) % 2
    leaked = np.arange(200) >= 20
    assert (without_leaks(kinds, leaked, least=10) == ~leaked).all()
    leaked[0] = True
    assert without_leaks(kinds, leaked, least=10).all()
    assert (without_leaks(kinds, leaked) == ~leaked).all()
    third = np.append(kinds, 2)  # a class of one image needs no others
    assert without_leaks(third, np.append(np.arange(200) >= 20, False), least=10).sum() == 21


def test_where_only_leaked_images_of_a_kind_are_there_they_are_used_and_it_is_logged() -> None:
    leaked = np.array([False, False, True])
    point = fit_operating_point(
        sums(0.9, 0.8, 0.3), np.array([1, 1, 0]), ("negative", "positive"), ("positive",), leaked=leaked
    )
    assert point
    assert (point.leaked_images, point.leaked_images_used, point.negative_images) == (1, True, 1)
    assert operating_point_caveats(point)[-1] == (
        "the operating point was also fitted on leaked images, as there were too few others: 1 validation image with "
        "a copy, or an image of their group, in the training set; its metrics are optimistic"
    )


def test_the_summed_probability_of_the_positive_classes_counts() -> None:
    probabilities = np.array([[0.3, 0.4, 0.3], [0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.05, 0.9, 0.05]])
    point = fit_operating_point(probabilities, np.array([0, 2, 1, 1]), ("a", "b", "c"), ("a", "c"), sensitivity=1.0)
    assert point
    assert point.threshold == pytest.approx(between(0.2, 0.5))
    assert (point.sensitivity, point.specificity) == (1.0, 1.0)


def test_without_a_score_below_the_positives_half_of_the_lowest_is_the_threshold() -> None:
    assert fitted([0.6, 0.7], [1, 0], 0.95).threshold == pytest.approx(0.3)


@pytest.mark.parametrize("labels", [[0, 0], [1, 1]])
def test_there_is_no_operating_point_without_positive_and_negative_images(labels: list[int]) -> None:
    assert fit_operating_point(sums(0.2, 0.8), np.array(labels), ("negative", "positive"), ("positive",)) is None


def test_there_is_no_operating_point_without_a_positive_class() -> None:
    assert fit_operating_point(sums(0.2, 0.8), np.array([0, 1]), ("negative", "positive"), ()) is None


def wilson(hits: int, images: int) -> tuple[float, float]:
    """The score interval as Wilson 1927 writes it."""
    z, share = 1.959963984540054, hits / images
    middle = share + z**2 / (2 * images)
    half = z * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    return (middle - half) / (1 + z**2 / images), (middle + half) / (1 + z**2 / images)


def metrics_at(threshold: float, values: list[float], labels: list[int]) -> dict[str, Any]:
    return operating_metrics(sums(*values), np.array(labels), ("negative", "positive"), ("positive",), threshold)


def test_the_metrics_at_a_threshold_come_with_wilson_intervals() -> None:
    found = metrics_at(0.5, [0.9, 0.5, 0.4, 0.6, 0.2, 0.1, 0.3], [1, 1, 1, 0, 0, 0, 0])
    assert found == {
        "sensitivity": 0.666667,  # 0.5 is suspicious, too
        "sensitivity_interval": pytest.approx(wilson(2, 3), abs=1e-6),
        "sensitivity_images": 3,
        "specificity": 0.75,
        "specificity_interval": pytest.approx(wilson(3, 4), abs=1e-6),
        "specificity_images": 4,
    }


def test_an_interval_has_a_width_where_every_image_was_found() -> None:
    low, high = metrics_at(0.5, [0.9, 0.8, 0.1], [1, 1, 0])["sensitivity_interval"]
    assert (low, high) == (pytest.approx(wilson(2, 2)[0], abs=1e-6), 1.0)
    assert low < 0.4


def test_metrics_without_images_are_not_defined() -> None:
    found = metrics_at(0.5, [0.9, 0.8], [1, 1])
    assert (found["specificity"], found["specificity_interval"], found["specificity_images"]) == (None, None, 0)
    assert (found["sensitivity"], found["sensitivity_images"]) == (1.0, 2)


def test_the_points_own_metrics_are_those_of_the_images_that_it_was_fitted_on() -> None:
    values, labels = [0.9, 0.8, 0.6, 0.3, 0.7, 0.5, 0.2], [1, 1, 1, 1, 0, 0, 0]
    point = fitted(values, labels, 0.75)
    found = metrics_at(point.threshold, values, labels)
    assert (point.sensitivity, point.specificity) == (found["sensitivity"], found["specificity"])
    assert point.sensitivity_interval == found["sensitivity_interval"]
    assert point.specificity_interval == found["specificity_interval"]


def test_a_model_without_an_operating_point_has_no_suspicious_metrics() -> None:
    assert suspicious_metrics(None, sums(0.5), np.array([0]), ("negative", "positive")) is None


def test_suspicious_metrics_have_the_models_point_and_its_metrics_on_these_images() -> None:
    point = OperatingPoint(
        positive=("positive",), threshold=0.5, sensitivity=0.1, specificity=0.2, target_sensitivity=0.95
    )
    found = suspicious_metrics(point, sums(0.9, 0.4, 0.2), np.array([1, 1, 0]), ("negative", "positive"))
    metrics = metrics_at(0.5, [0.9, 0.4, 0.2], [1, 1, 0])
    expected = {"positive": ["positive"], "threshold": 0.5, "target_sensitivity": 0.95, **metrics}
    assert found is not None
    assert found == json.loads(json.dumps(expected))
    assert found["sensitivity"] == 0.5


def test_slices_of_few_patients_are_worth_no_more_than_the_patients() -> None:
    random = np.random.default_rng(0)
    positive, negative = random.uniform(0.6, 1, 80), random.uniform(0, 0.5, 80)
    probabilities, labels = sums(*positive, *negative), np.repeat([1, 0], 80)
    patients = np.concatenate([np.arange(80) // 8, 100 + np.arange(80) // 4])
    names = ("negative", "positive")
    alone = fit_operating_point(probabilities, labels, names, ("positive",))
    known = fit_operating_point(probabilities, labels, names, ("positive",), groups=patients)
    assert alone is not None
    assert known is not None
    assert (known.positive_images, known.positive_patients, known.negative_patients) == (80, 10, 20)
    assert known.sensitivity == 1.0
    assert known.sensitivity_bound == pytest.approx(0.05 ** (1 / 10))  # as of 10 images, all found
    assert alone.sensitivity_bound == pytest.approx(0.05 ** (1 / 80))
    assert known.sensitivity_interval is not None
    assert alone.sensitivity_interval is not None
    assert known.sensitivity_interval[0] < alone.sensitivity_interval[0]
    assert operating_point_caveats(alone) == []
    assert operating_point_caveats(known) == [
        "the operating point was fitted on 80 suspicious images of 10 patients, too few to show a sensitivity of 0.95 "
        "(59 or more patients can show it): the observed sensitivity reached it, the one-sided 95 % lower bound is "
        "0.741",
        "the operating point was fitted on 80 images of other classes of 20 patients, too few to show a specificity of "
        "0.9 (29 or more patients can show it)",
    ]
    ones = fit_operating_point(probabilities, labels, names, ("positive",), groups=range(160))
    assert ones is not None
    assert (ones.threshold, ones.sensitivity_bound) == (alone.threshold, alone.sensitivity_bound)
