"""The metrics: by hand, against scikit-learn, over resamples, undefined ones, and as a table."""

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from ctonnx_train.evaluation.statistics import metrics as module
from ctonnx_train.evaluation.statistics.metrics import ECE_BINS, LEVEL, REPLICATES, as_table, compute_metrics, evaluate

METRICS = ("precision", "sensitivity", "specificity", "f1", "auroc")


def one_hot(predicted: list[int], classes: int) -> NDArray[np.float32]:
    return np.eye(classes, dtype=np.float32)[predicted]


def predictions(images: int, classes: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Random probabilities, of which some are equal, that lean towards random labels."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, images)
    probabilities = rng.dirichlet(np.ones(classes), images)
    probabilities[np.arange(images), truth] += 0.3
    probabilities = np.round(probabilities / probabilities.sum(1, keepdims=True), 2)
    return probabilities.astype(np.float32), truth


@pytest.fixture(scope="module")
def by_hand() -> dict[str, Any]:
    """Five images of three classes; `c` is never predicted. Rows: truth a, b, b, c, a; predicted a, a, b, b, a."""
    probabilities = np.array(
        [[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.2, 0.7, 0.1], [0.3, 0.5, 0.2], [0.5, 0.4, 0.1]], np.float32
    )
    return evaluate(probabilities, [0, 1, 1, 2, 0], ["a", "b", "c"], replicates=0)


def test_the_metrics_are_what_a_hand_computes(by_hand: dict[str, Any]) -> None:
    assert by_hand == {
        "images": 5,
        "accuracy": 0.6,
        "balanced_accuracy": 0.5,
        "ece": 0.2,  # (0.1 + 0.6 + 0.3 + (0.5 - 0.5: two images of one bin)) / 5
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


def expected_of_scikit_learn(
    probabilities: NDArray[np.float32], truth: NDArray[np.int64], weights: NDArray[np.float64] | None = None
) -> dict[str, Any]:
    predicted, count = probabilities.argmax(1), probabilities.shape[1]
    options: dict[str, Any] = {"sample_weight": weights}
    averages = options | {"average": None, "labels": range(count)}
    return {
        "accuracy": accuracy_score(truth, predicted, **options),
        "balanced_accuracy": balanced_accuracy_score(truth, predicted, **options),
        "precision": precision_score(truth, predicted, **averages),
        "sensitivity": recall_score(truth, predicted, **averages),
        "specificity": [recall_score(truth != index, predicted != index, **options) for index in range(count)],
        "f1": f1_score(truth, predicted, **averages),
        "auroc": [roc_auc_score(truth == index, probabilities[:, index], **options) for index in range(count)],
    }


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_the_metrics_are_those_of_scikit_learn(classes: int, seed: int) -> None:
    probabilities, truth = predictions(80, classes, seed)
    names = ["w", "x", "y", "z"][:classes]
    found = evaluate(probabilities, truth.tolist(), names, replicates=0)
    expected = expected_of_scikit_learn(probabilities, truth)
    assert found["accuracy"] == pytest.approx(expected.pop("accuracy"), abs=1e-6)
    assert found["balanced_accuracy"] == pytest.approx(expected.pop("balanced_accuracy"), abs=1e-6)
    assert found["confusion_matrix"] == confusion_matrix(truth, probabilities.argmax(1)).tolist()
    assert set(expected) == set(METRICS)
    for name, values in expected.items():
        assert [found["per_class"][one][name] for one in names] == pytest.approx(list(values), abs=1e-6), name
        assert found["macro"][name] == pytest.approx(np.mean(values), abs=2e-6), name


def test_the_metrics_of_resamples_are_those_of_scikit_learn_with_sample_weights() -> None:
    probabilities, truth = predictions(60, 4, 7)
    weights = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), size=5)
    found = compute_metrics(probabilities, truth, weights.astype(np.float64))
    for row, sample_weight in enumerate(weights):
        for name, values in expected_of_scikit_learn(probabilities, truth, sample_weight).items():
            assert found[name][row] == pytest.approx(values, abs=1e-9), name
            if name in METRICS:
                assert found[f"macro_{name}"][row] == pytest.approx(np.mean(values), abs=1e-9), name


def test_a_resample_is_the_images_repeated_by_their_weights() -> None:
    probabilities, truth = predictions(30, 3, 1)
    weights = np.random.default_rng(1).integers(0, 4, (3, 30))
    found = compute_metrics(probabilities, truth, weights.astype(np.float64))
    for row, times in enumerate(weights):
        repeated = compute_metrics(probabilities.repeat(times, axis=0), truth.repeat(times))
        for name, values in found.items():
            np.testing.assert_allclose(values[row], repeated[name][0], rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("seed", range(3))
def test_the_calibration_error_is_what_a_plain_loop_finds(seed: int) -> None:
    probabilities, truth = predictions(200, 3, seed)
    error = 0.0
    for index in range(ECE_BINS):
        low, high = index / ECE_BINS, (index + 1) / ECE_BINS
        inside = [
            (float(row.max()), int(row.argmax()) == label)
            for row, label in zip(probabilities, truth.tolist(), strict=True)
            if low <= row.max() < high or (index == ECE_BINS - 1 and row.max() == 1)
        ]
        if inside:
            confidence = sum(one for one, _ in inside) / len(inside)
            accuracy = sum(right for _, right in inside) / len(inside)
            error += len(inside) / len(truth) * abs(accuracy - confidence)
    assert evaluate(probabilities, truth.tolist(), "abc", replicates=0)["ece"] == pytest.approx(error, abs=2e-6)


def test_confident_predictions_have_no_calibration_error_if_right_and_the_largest_if_wrong() -> None:
    probabilities = one_hot([0, 1, 1], 2)
    assert evaluate(probabilities, [0, 1, 1], "ab", replicates=0)["ece"] == 0
    assert evaluate(probabilities, [1, 0, 0], "ab", replicates=0)["ece"] == 1


def test_intervals_are_the_percentiles_over_resampled_images() -> None:
    probabilities, truth = predictions(50, 3, 2)
    found = evaluate(probabilities, truth.tolist(), "abc", replicates=400, seed=3)
    draws = np.random.default_rng(3)
    values: dict[str, list[Any]] = {"accuracy": [], "sensitivity": []}
    for _ in range(400):
        rows = np.repeat(np.arange(50), draws.multinomial(50, np.full(50, 1 / 50)))
        predicted = probabilities[rows].argmax(1)
        values["accuracy"].append(accuracy_score(truth[rows], predicted))
        values["sensitivity"].append(recall_score(truth[rows], predicted, average=None, labels=range(3)))
    tails = [0.025, 0.975]
    assert found["intervals"]["accuracy"] == pytest.approx(np.quantile(values["accuracy"], tails), abs=1e-6)
    assert found["intervals"]["per_class"]["b"]["sensitivity"] == pytest.approx(
        np.quantile(np.array(values["sensitivity"])[:, 1], tails), abs=1e-6
    )
    assert found["bootstrap"] == {"level": LEVEL, "replicates": 400, "seed": 3, "unit": "image", "units": 50}


def test_each_metric_has_an_interval_with_the_metric_inside() -> None:
    probabilities, truth = predictions(120, 3, 4)
    found = evaluate(probabilities, truth.tolist(), "abc")
    intervals = found["intervals"]
    assert set(intervals) == {"accuracy", "balanced_accuracy", "macro", "per_class", "ece"}
    pairs = [(found[name], intervals[name]) for name in ("accuracy", "balanced_accuracy")]
    pairs += [(found["macro"][name], intervals["macro"][name]) for name in METRICS]
    pairs += [(found["per_class"][one][name], intervals["per_class"][one][name]) for one in "abc" for name in METRICS]
    assert len(pairs) == 22
    assert all(low < value < high for value, (low, high) in pairs)
    assert (found["bootstrap"]["replicates"], found["bootstrap"]["level"]) == (REPLICATES, 0.95)


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others() -> None:
    probabilities, truth = predictions(40, 3, 5)
    first, again, other = (
        evaluate(probabilities, truth.tolist(), "abc", replicates=100, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first["intervals"] != other["intervals"]
    assert first["per_class"] == other["per_class"]


def test_intervals_do_not_depend_on_how_many_resamples_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities, truth = predictions(40, 3, 5)
    whole = evaluate(probabilities, truth.tolist(), "abc", replicates=100)
    monkeypatch.setattr(module, "_CELLS", 40 * 7)
    assert evaluate(probabilities, truth.tolist(), "abc", replicates=100) == whole


def test_images_of_a_group_come_and_go_together() -> None:
    """Ten copies of each of twenty images: by group, the intervals are those of the twenty."""
    probabilities, truth = predictions(20, 2, 6)
    twenty = evaluate(probabilities, truth.tolist(), "ab", replicates=300)
    copies, labels = probabilities.repeat(10, axis=0), truth.repeat(10).tolist()
    grouped = evaluate(copies, labels, "ab", groups=np.arange(20).repeat(10).tolist(), replicates=300)
    alone = evaluate(copies, labels, "ab", replicates=300)
    assert grouped["intervals"] == twenty["intervals"]
    assert (grouped["bootstrap"]["unit"], grouped["bootstrap"]["units"]) == ("group", 20)
    assert (alone["bootstrap"]["unit"], alone["bootstrap"]["units"]) == ("image", 200)
    (low, high), (lower, higher) = alone["intervals"]["accuracy"], grouped["intervals"]["accuracy"]
    assert high - low < (higher - lower) / 2


@pytest.mark.parametrize(("images", "groups"), [(6, [3] * 6), (1, None)], ids=["group", "image"])
def test_one_group_or_image_has_no_intervals(images: int, groups: list[int] | None) -> None:
    probabilities, truth = predictions(images, 2, 6)
    found = evaluate(probabilities, truth.tolist(), "ab", groups=groups, replicates=50)
    assert found == evaluate(probabilities, truth.tolist(), "ab", replicates=0)
    assert "intervals" not in found
    assert "bootstrap" not in found


def test_the_numbers_of_groups_are_names_alone() -> None:
    probabilities, truth = predictions(12, 2, 6)
    groups = np.arange(12) // 3
    first = evaluate(probabilities, truth.tolist(), "ab", groups=groups.tolist(), replicates=50)
    assert evaluate(probabilities, truth.tolist(), "ab", groups=(groups * 1000 + 7).tolist(), replicates=50) == first


def test_a_resample_in_which_a_metric_is_not_defined_does_not_count_for_it() -> None:
    """One image of `b` is missing from every third resample; in the others its sensitivity is 1."""
    found = evaluate(one_hot([0, 0, 0, 1], 2), [0, 0, 0, 1], "ab", replicates=200)
    assert found["intervals"]["per_class"]["b"]["sensitivity"] == [1.0, 1.0]
    assert found["intervals"]["per_class"]["b"]["auroc"] == [1.0, 1.0]


def test_a_metric_that_is_not_defined_has_no_interval() -> None:
    found = evaluate(one_hot([0, 1, 1], 3), [0, 1, 1], "abc", replicates=20)
    assert found["per_class"]["c"]["auroc"] is None
    assert found["intervals"]["per_class"]["c"] == {
        "precision": None,
        "sensitivity": None,
        "specificity": [1.0, 1.0],
        "f1": None,
        "auroc": None,
    }


def test_without_resamples_there_are_no_intervals(by_hand: dict[str, Any]) -> None:
    assert "intervals" not in by_hand
    assert "bootstrap" not in by_hand


def test_a_class_with_images_that_was_never_predicted_lowers_the_mean_precision() -> None:
    found = evaluate(one_hot([0, 0], 2), [0, 1], "ab", replicates=0)
    assert found["per_class"]["b"]["precision"] is None
    assert found["macro"]["precision"] == 0.25


def test_the_table_has_a_line_a_class_and_a_dash_where_a_metric_is_not_defined(by_hand: dict[str, Any]) -> None:
    assert as_table("validation", by_hand).splitlines() == [
        "validation: accuracy 0.600, balanced 0.500, ECE 0.200 on 5 images",
        "class       images    precision  sensitivity  specificity           f1        auroc",
        "a                2        0.667        1.000        0.667        0.800        0.833",
        "b                2        0.500        0.500        0.667        0.500        0.750",
        "c                1            -        0.000        1.000        0.000        1.000",
        "macro mean       5        0.389        0.500        0.778        0.433        0.861",
    ]


def test_the_tables_first_line_shows_the_intervals() -> None:
    found = evaluate(one_hot([0, 1, 1], 2), [0, 1, 1], "ab", replicates=20)
    assert as_table("test", found).splitlines()[0] == (
        "test: accuracy 1.000 [1.000, 1.000], balanced 1.000 [1.000, 1.000], ECE 0.000 [0.000, 0.000] on 3 images"
    )


def test_the_table_is_as_wide_as_its_longest_class() -> None:
    metrics = evaluate(one_hot([0, 1], 2), [0, 1], ["adenocarcinoma", "b"], replicates=0)
    assert [len(line) for line in as_table("test", metrics).splitlines()[1:]] == [14 + 8 + 5 * 13] * 4


def test_a_class_that_is_not_there_has_no_sensitivity_and_no_auroc() -> None:
    metrics = evaluate(one_hot([0, 2, 1, 1], 3), [0, 0, 1, 1], ["a", "b", "c"])
    assert metrics["per_class"]["c"] == {
        "images": 0,
        "precision": 0.0,
        "sensitivity": None,
        "specificity": 0.75,
        "f1": None,
        "auroc": None,
    }
    assert metrics["macro"] == {
        "precision": pytest.approx((1 + 1 + 0) / 3, abs=1e-6),
        "sensitivity": 0.75,
        "specificity": pytest.approx((1 + 1 + 0.75) / 3, abs=1e-6),
        "f1": pytest.approx((2 / 3 + 1) / 2, abs=1e-6),
        "auroc": 0.875,
    }


def test_a_class_that_is_neither_there_nor_predicted_has_only_its_specificity() -> None:
    found = evaluate(one_hot([0, 1], 3), [0, 1], ["a", "b", "c"])["per_class"]["c"]
    assert found == {
        "images": 0,
        "precision": None,
        "sensitivity": None,
        "specificity": 1.0,
        "f1": None,
        "auroc": None,
    }


def test_a_class_that_all_images_have_has_no_specificity_and_no_auroc() -> None:
    found = evaluate(one_hot([0, 0, 1], 2), [0, 0, 0], ["a", "b"])["per_class"]["a"]
    assert (found["sensitivity"], found["specificity"], found["auroc"]) == (
        pytest.approx(2 / 3, abs=1e-6),
        None,
        None,
    )


@pytest.mark.parametrize("truth", [[0], [0, 0], [0, 1], [2, 1, 0], [1, 1, 1]])
@pytest.mark.parametrize("predicted", [0, 1, 2])
def test_the_metrics_are_json_without_nan_and_can_be_shown(truth: list[int], predicted: int) -> None:
    metrics = evaluate(one_hot([predicted] * len(truth), 3), truth, ["a", "b", "c"], replicates=30)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert "nan" not in as_table("test", metrics)
