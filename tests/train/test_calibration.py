"""The temperature and the operating point: by hand, at their edges, and what they promise."""

import json
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import log_loss

from ctonnx.errors import DataError
from ctonnx.spec import OperatingPoint
from ctonnx_train.calibration import (
    NEGATIVE_CLASSES,
    fit_operating_point,
    fit_temperature,
    negative_log_likelihood,
    operating_figures,
    positive_classes,
    suspicious_figures,
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


def overconfident(images: int, factor: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits `factor` times as large as those that the labels were drawn from."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (images, 4))
    labels = np.array([rng.choice(4, p=row) for row in softmax(logits, axis=1)])
    return (logits * factor).astype(np.float32), labels


def test_the_likelihood_is_that_of_scikit_learn() -> None:
    logits, labels = overconfident(50, 1.0)
    for temperature in (0.5, 1.0, 3.0):
        expected = log_loss(labels, softmax(logits.astype(np.float64) / temperature, axis=1), labels=range(4))
        assert negative_log_likelihood(logits, labels, temperature) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_finds_by_how_much_the_logits_are_too_large(factor: float) -> None:
    logits, labels = overconfident(4000, factor)
    assert fit_temperature(logits, labels) == pytest.approx(factor, rel=0.06)


def test_no_other_temperature_makes_the_labels_more_likely() -> None:
    logits, labels = overconfident(300, 2.0)
    temperature = fit_temperature(logits, labels)
    least = negative_log_likelihood(logits, labels, temperature)
    for other in np.geomspace(0.05, 20, 60):
        assert negative_log_likelihood(logits, labels, float(other)) >= least - 1e-7
    assert temperature == round(temperature, 4)


@pytest.mark.parametrize("labels", [[0, 1], [1, 0]], ids=["right", "wrong"])
def test_the_temperature_stays_one_where_all_are_right_and_where_all_are_wrong(labels: list[int]) -> None:
    logits = np.array([[2.0, 0.0], [0.0, 2.0]], np.float32)
    assert fit_temperature(logits, np.array(labels)) == 1.0


@pytest.mark.parametrize("temperature", [0.06, 18.0])
def test_a_temperature_near_a_bound_is_found(temperature: float) -> None:
    """Three of four images of one answer are right: the logits must differ by log 3 once they are divided."""
    logits = np.tile([temperature * np.log(3), 0.0], (4, 1))
    assert fit_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(temperature, rel=1e-3)


def test_a_temperature_changes_no_answer() -> None:
    logits, labels = overconfident(100, 3.0)
    calibrated = softmax(logits / fit_temperature(logits, labels), axis=1)
    assert (calibrated.argmax(1) == logits.argmax(1)).all()


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
def test_a_choice_that_cannot_be_is_refused(chosen: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError) as refusal:
        positive_classes(CLASSES, chosen)
    assert str(refusal.value) == message


def test_the_operating_point_is_the_highest_threshold_that_reaches_the_sensitivity() -> None:
    values, labels = [0.9, 0.8, 0.6, 0.3, 0.7, 0.5, 0.2, 0.1], [1, 1, 1, 1, 0, 0, 0, 0]
    point = fitted(values, labels, 0.75)
    assert point.threshold == pytest.approx((0.6 + 0.5) / 2)  # in the middle of the lowest found and the next below it
    assert (point.sensitivity, point.specificity, point.target_sensitivity) == (0.75, 0.75, 0.75)
    assert point.positive == ("positive",)
    lower = fitted(values, labels, 0.76)
    assert lower.threshold == pytest.approx((0.3 + 0.2) / 2)
    assert (lower.sensitivity, lower.specificity) == (1.0, 0.5)


@pytest.mark.parametrize("sensitivity", [0.5, 0.8, 0.9, 0.95, 0.99, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_sensitivity_is_reached_and_a_higher_threshold_would_not_reach_it(sensitivity: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(60) % 2)
    values = np.round(np.clip(rng.normal(0.35 + 0.3 * labels, 0.2), 0, 1), 2)
    point = fitted(values.tolist(), labels.tolist(), sensitivity)
    positive = values[labels == 1]
    assert (positive >= point.threshold).mean() == pytest.approx(point.sensitivity, abs=1e-6)
    assert point.sensitivity >= sensitivity
    next_higher = min((value for value in values if value > point.threshold), default=2.0)
    assert (positive > next_higher).mean() < sensitivity


def test_the_summed_probability_of_the_positive_classes_counts() -> None:
    probabilities = np.array([[0.3, 0.4, 0.3], [0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.05, 0.9, 0.05]])
    point = fit_operating_point(probabilities, np.array([0, 2, 1, 1]), ("a", "b", "c"), ("a", "c"), sensitivity=1.0)
    assert point
    assert point.threshold == pytest.approx((0.5 + 0.2) / 2)
    assert (point.sensitivity, point.specificity) == (1.0, 1.0)


def test_where_all_are_told_apart_the_threshold_stands_between_them() -> None:
    assert fitted([0.9, 0.8, 0.2], [1, 1, 0], 0.95).threshold == pytest.approx(0.5)
    assert fitted([0.6, 0.7], [1, 0], 0.95).threshold == pytest.approx(0.3)  # none is below the positive one


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


def figures_at(threshold: float, values: list[float], labels: list[int]) -> dict[str, Any]:
    return operating_figures(sums(*values), np.array(labels), ("negative", "positive"), ("positive",), threshold)


def test_the_figures_at_a_threshold_come_with_wilson_intervals() -> None:
    found = figures_at(0.5, [0.9, 0.5, 0.4, 0.6, 0.2, 0.1, 0.3], [1, 1, 1, 0, 0, 0, 0])
    assert found == {
        "sensitivity": 0.666667,  # 0.5 is called suspicious too
        "sensitivity_interval": pytest.approx(wilson(2, 3), abs=1e-6),
        "sensitivity_images": 3,
        "specificity": 0.75,
        "specificity_interval": pytest.approx(wilson(3, 4), abs=1e-6),
        "specificity_images": 4,
    }


def test_an_interval_has_a_width_where_every_image_was_found() -> None:
    low, high = figures_at(0.5, [0.9, 0.8, 0.1], [1, 1, 0])["sensitivity_interval"]
    assert (low, high) == (pytest.approx(wilson(2, 2)[0], abs=1e-6), 1.0)
    assert low < 0.4


def test_figures_without_images_are_not_defined() -> None:
    found = figures_at(0.5, [0.9, 0.8], [1, 1])
    assert (found["specificity"], found["specificity_interval"], found["specificity_images"]) == (None, None, 0)
    assert (found["sensitivity"], found["sensitivity_images"]) == (1.0, 2)


def test_the_points_own_figures_are_those_of_the_images_that_it_was_fitted_on() -> None:
    values, labels = [0.9, 0.8, 0.6, 0.3, 0.7, 0.5, 0.2], [1, 1, 1, 1, 0, 0, 0]
    point = fitted(values, labels, 0.75)
    found = figures_at(point.threshold, values, labels)
    assert (point.sensitivity, point.specificity) == (found["sensitivity"], found["specificity"])
    assert point.sensitivity_interval == found["sensitivity_interval"]
    assert point.specificity_interval == found["specificity_interval"]


def test_a_model_without_an_operating_point_has_no_suspicious_figures() -> None:
    assert suspicious_figures(None, sums(0.5), np.array([0]), ("negative", "positive")) is None


def test_suspicious_figures_name_the_models_point_and_how_it_does_on_these_images() -> None:
    point = OperatingPoint(
        positive=("positive",), threshold=0.5, sensitivity=0.1, specificity=0.2, target_sensitivity=0.95
    )
    found = suspicious_figures(point, sums(0.9, 0.4, 0.2), np.array([1, 1, 0]), ("negative", "positive"))
    figures = figures_at(0.5, [0.9, 0.4, 0.2], [1, 1, 0])
    expected = {"positive": ["positive"], "threshold": 0.5, "target_sensitivity": 0.95, **figures}
    assert found is not None
    assert found == json.loads(json.dumps(expected))
    assert found["sensitivity"] == 0.5
