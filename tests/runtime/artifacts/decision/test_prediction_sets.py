from dataclasses import replace

import numpy as np
import pytest

from ctonnx.artifacts.decision.prediction_sets import PredictionSets, conformity

CLASSES = ("normal", "tumor", "other")
SETS = PredictionSets(
    coverage=0.95,
    lowest={"normal": 0.3, "tumor": 0.2, "other": 0.9},
    images={"normal": 19, "tumor": 100, "other": 18},
)


def test_a_class_is_in_the_set_from_its_lowest_probability_on() -> None:
    probabilities = np.array([[0.3, 0.6, 0.1], [0.29, 0.61, 0.1], [0.8, 0.1, 0.1]])
    assert SETS.sets(probabilities, CLASSES).tolist() == [
        [True, True, False],
        [False, True, False],
        [True, False, False],
    ]


def test_the_most_probable_class_is_in_the_set_however_improbable() -> None:
    assert SETS.sets(np.array([[0.15, 0.15, 0.7]]), CLASSES).tolist() == [[False, False, True]]


def test_classes_follow_the_order_of_the_model_and_not_of_the_sets() -> None:
    assert SETS.sets(np.array([[0.1, 0.25, 0.65]]), ("other", "tumor", "normal")).tolist() == [[False, True, True]]


def test_the_promise_is_only_as_high_as_the_images_can_show() -> None:
    assert SETS.covered("normal") == 0.95  # 19 / 20
    assert SETS.covered("other") is None  # 18 / 19
    assert SETS.short_of_images == ("other",)


def test_sets_of_other_classes_are_rejected() -> None:
    SETS.validate(("other", "normal", "tumor"))
    with pytest.raises(ValueError, match="expected prediction sets of the classes"):
        SETS.validate(("normal", "tumor"))


def test_conformity_is_the_probability_times_that_of_the_side() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2]])
    np.testing.assert_array_equal(conformity(probabilities, CLASSES, ()), probabilities.astype(np.float32))
    found = conformity(probabilities, CLASSES, ("tumor", "other"))
    np.testing.assert_allclose(found, [[0.25, 0.15, 0.1]], rtol=1e-6)


def test_an_improbable_class_of_the_probable_side_is_in_the_set_and_one_of_the_other_side_is_not() -> None:
    sets = replace(SETS, lowest=dict.fromkeys(CLASSES, 0.05), positive=("tumor", "other"))
    assert sets.sets(np.array([[0.1, 0.84, 0.06], [0.8, 0.14, 0.06]]), CLASSES).tolist() == [
        [False, True, True],
        [True, False, False],
    ]


@pytest.mark.parametrize("positive", [("tumor", "tumor"), ("lesion",), CLASSES])
def test_other_or_all_classes_as_suspicious_are_rejected(positive: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="expected prediction sets of the classes"):
        replace(SETS, positive=positive).validate(CLASSES)
