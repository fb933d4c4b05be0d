"""The figures: by hand, against scikit-learn, where they are not defined, and as a table."""

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from ctonnx_train.metrics import evaluate, format_metrics

FIGURES = ("precision", "sensitivity", "specificity", "f1", "auroc")


def one_hot(predicted: list[int], classes: int) -> NDArray[np.float32]:
    return np.eye(classes, dtype=np.float32)[predicted]


@pytest.fixture(scope="module")
def by_hand() -> dict[str, Any]:
    """Five images of three classes; `c` is never predicted. Rows: truth a, b, b, c, a; predicted a, a, b, b, a."""
    probabilities = np.array(
        [[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.2, 0.7, 0.1], [0.3, 0.5, 0.2], [0.5, 0.4, 0.1]], np.float32
    )
    return evaluate(probabilities, [0, 1, 1, 2, 0], ["a", "b", "c"])


def test_the_figures_are_what_a_hand_computes(by_hand: dict[str, Any]) -> None:
    assert by_hand == {
        "images": 5,
        "accuracy": 0.6,
        "macro": {
            "precision": 0.388889,
            "sensitivity": 0.5,
            "specificity": 0.777778,
            "f1": 0.433333,
            "auroc": 0.861111,
        },
        "per_class": {
            "a": {
                "images": 2,
                "precision": 0.666667,
                "sensitivity": 1.0,
                "specificity": 0.666667,
                "f1": 0.8,
                "auroc": 0.833333,
            },
            "b": {
                "images": 2,
                "precision": 0.5,
                "sensitivity": 0.5,
                "specificity": 0.666667,
                "f1": 0.5,
                "auroc": 0.75,
            },
            "c": {
                "images": 1,
                "precision": None,
                "sensitivity": 0.0,
                "specificity": 1.0,
                "f1": 0.0,
                "auroc": 1.0,
            },
        },
        "confusion_matrix": [[2, 0, 0], [1, 1, 0], [0, 1, 0]],
    }


def test_the_table_has_a_line_a_class_and_a_dash_where_a_figure_is_not_defined(by_hand: dict[str, Any]) -> None:
    assert format_metrics("validation", by_hand).splitlines() == [
        "validation: accuracy 0.600 on 5 images",
        "class       images    precision  sensitivity  specificity           f1        auroc",
        "a                2        0.667        1.000        0.667        0.800        0.833",
        "b                2        0.500        0.500        0.667        0.500        0.750",
        "c                1            -        0.000        1.000        0.000        1.000",
        "macro mean       5        0.389        0.500        0.778        0.433        0.861",
    ]


def test_the_table_is_as_wide_as_its_longest_class() -> None:
    metrics = evaluate(one_hot([0, 1], 2), [0, 1], ["adenocarcinoma", "b"])
    assert [len(line) for line in format_metrics("test", metrics).splitlines()[1:]] == [14 + 8 + 5 * 13] * 4


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, 80)
    probabilities = rng.dirichlet(np.ones(4), 80)
    probabilities[np.arange(80), truth] += 0.3
    probabilities = (probabilities / probabilities.sum(1, keepdims=True)).astype(np.float32)
    predicted = probabilities.argmax(1)
    classes = ["w", "x", "y", "z"]
    metrics = evaluate(probabilities, truth.tolist(), classes)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(truth, predicted), abs=1e-6)
    assert metrics["confusion_matrix"] == confusion_matrix(truth, predicted).tolist()
    expected = {
        "precision": precision_score(truth, predicted, average=None),
        "sensitivity": recall_score(truth, predicted, average=None),
        "specificity": [recall_score(truth != index, predicted != index) for index in range(4)],
        "f1": f1_score(truth, predicted, average=None),
        "auroc": [roc_auc_score(truth == index, probabilities[:, index]) for index in range(4)],
    }
    for name, values in expected.items():
        assert [metrics["per_class"][one][name] for one in classes] == pytest.approx(list(values), abs=1e-6), name
        assert metrics["macro"][name] == pytest.approx(np.mean(values), abs=2e-6), name


def test_a_class_that_is_not_there_has_no_sensitivity_and_no_auroc() -> None:
    metrics = evaluate(one_hot([0, 2, 1, 1], 3), [0, 0, 1, 1], ["a", "b", "c"])
    assert metrics["per_class"]["c"] == {
        "images": 0,
        "precision": 0.0,
        "sensitivity": None,
        "specificity": 0.75,
        "f1": 0.0,
        "auroc": None,
    }
    assert metrics["macro"] == {
        "precision": pytest.approx((1 + 1 + 0) / 3, abs=1e-6),
        "sensitivity": 0.75,
        "specificity": pytest.approx((1 + 1 + 0.75) / 3, abs=1e-6),
        "f1": pytest.approx((2 / 3 + 1 + 0) / 3, abs=1e-6),
        "auroc": 0.875,
    }


def test_a_class_that_is_neither_there_nor_predicted_has_only_its_specificity() -> None:
    figures = evaluate(one_hot([0, 1], 3), [0, 1], ["a", "b", "c"])["per_class"]["c"]
    assert figures == {
        "images": 0,
        "precision": None,
        "sensitivity": None,
        "specificity": 1.0,
        "f1": None,
        "auroc": None,
    }


def test_a_class_that_all_images_have_has_no_specificity_and_no_auroc() -> None:
    figures = evaluate(one_hot([0, 0, 1], 2), [0, 0, 0], ["a", "b"])["per_class"]["a"]
    assert (figures["sensitivity"], figures["specificity"], figures["auroc"]) == (
        pytest.approx(2 / 3, abs=1e-6),
        None,
        None,
    )


@pytest.mark.parametrize("truth", [[0], [0, 0], [0, 1], [2, 1, 0], [1, 1, 1]])
@pytest.mark.parametrize("predicted", [0, 1, 2])
def test_the_figures_are_json_without_nan_and_can_be_shown(truth: list[int], predicted: int) -> None:
    metrics = evaluate(one_hot([predicted] * len(truth), 3), truth, ["a", "b", "c"])
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert "nan" not in format_metrics("test", metrics)
