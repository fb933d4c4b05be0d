"""Temperature scaling, against scikit-learn and other temperatures."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import log_loss

from ctonnx_train.evaluation.fitting.calibration import fit_temperature, negative_log_likelihood


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
    """Three of four equal predictions are right: the divided logits must differ by log 3."""
    logits = np.tile([temperature * np.log(3), 0.0], (4, 1))
    assert fit_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(temperature, rel=1e-3)


def test_a_temperature_changes_no_predicted_class() -> None:
    logits, labels = overconfident(100, 3.0)
    calibrated = softmax(logits / fit_temperature(logits, labels), axis=1)
    assert (calibrated.argmax(1) == logits.argmax(1)).all()


def test_weight_of_an_image_is_the_number_of_times_it_counts() -> None:
    random = np.random.default_rng(4)
    logits, labels = random.normal(size=(40, 3)) * 3, random.integers(0, 3, 40)
    times = random.integers(1, 4, 40)
    repeated = np.repeat(logits, times, axis=0), np.repeat(labels, times)
    assert fit_temperature(logits, labels, times.astype(float)) == fit_temperature(*repeated)
    assert negative_log_likelihood(logits, labels, 2.0, times.astype(float)) == pytest.approx(
        negative_log_likelihood(*repeated, 2.0)
    )
