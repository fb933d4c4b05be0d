"""The comparison of two models' outputs and accuracy, with values computed by hand."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.runtime.parity.made_outputs import outputs, parity

from ctonnx.parity.comparison import Parity, accuracy_change, compare, rank_correlation
from ctonnx.parity.outputs import Outputs


def test_differences_are_those_computed_by_hand() -> None:
    reference = outputs([[0.75, 0.25], [0.5, 0.25], [0, 1]], [[1, 2], [3, 4], [5, 6]], np.full((3, 2, 1, 1), 4))
    candidate = outputs([[0.5, 0.5], [0.25, 0.5], [0, 1]], [[1, 2], [3, 2], [5, 6.5]], np.full((3, 2, 1, 1), 3))
    assert compare(reference, candidate) == Parity(
        images=3,
        agreement=2 / 3,  # the second image changes its class; a tie counts for the first class
        max_dp=0.25,
        mean_dp=1 / 6,  # four differences of 0.25 over six probabilities
        max_dlogit=2.0,
        max_dheatmap=0.25,  # a difference of 1; the reference's largest value is 4
        heatmap_correlation=1.0,
        lowest_heatmap_correlation=1.0,  # the reference's heatmaps are constant
    )


def test_model_agrees_with_itself() -> None:
    same = outputs([[0.9, 0.1]], [[3, 1]], [[[[1, 2]], [[0, 5]]]])
    assert compare(same, same) == parity(images=1)


def test_difference_is_taken_in_double_precision() -> None:
    reference, candidate = outputs([[1.0, 0.0]]), outputs([[1.0 - 2**-24, 2**-24]])
    assert compare(reference, candidate).max_dp == 2**-24


def test_heatmap_that_should_be_zero_has_a_large_difference() -> None:
    assert compare(outputs([[1, 0]]), outputs([[1, 0]], heatmap=np.ones((1, 2, 2, 2)))).max_dheatmap > 1e9


def test_differences_are_rounded_up_to_three_digits_and_shares_down_to_six() -> None:
    written = parity(images=1234, agreement=0.9876549, max_dp=1.23456e-7).as_dict()
    assert written == {
        "images": 1234,
        "agreement": 0.987654,
        "max_dp": 1.24e-07,
        "mean_dp": 0.0,
        "max_dlogit": 0.0,
        "max_dheatmap": 0.0,
        "heatmap_correlation": 1.0,
        "lowest_heatmap_correlation": 1.0,
    }
    assert isinstance(written["images"], int)


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^parity needs at least one image, found none$"):
        compare(outputs(np.zeros((0, 2))), outputs(np.zeros((0, 2))))


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        (outputs([[1, 0]] * 3), r"^expected probabilities of shape \[2, 2\], found \[3, 2\]$"),
        (outputs([[1, 0, 0]] * 2), r"^expected probabilities of shape \[2, 2\], found \[2, 3\]$"),
        (outputs([[1, 0]] * 2, logits=[[1]] * 2), r"^expected logits of shape \[2, 2\], found \[2, 1\]$"),
        (
            outputs([[1, 0]] * 2, heatmap=np.zeros((2, 2, 7, 7))),
            r"^expected heatmap of shape \[2, 2, 2, 2\], found \[2, 2, 7, 7\]$",
        ),
    ],
)
def test_other_shape_is_an_error(candidate: Outputs, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(outputs([[1, 0]] * 2), candidate)


# --- heatmaps --------------------------------------------------------------------------------------------------------


def maps(*values: Any) -> Any:
    """Returns heatmaps of two classes for each image, the given ones for the first class."""
    first = np.array(values, np.float32)
    return np.stack([first, np.zeros_like(first)], axis=1)


def test_heatmaps_are_compared_for_the_class_that_the_reference_predicts() -> None:
    reference = outputs([[0.9, 0.1]], heatmap=maps([[1, 2], [3, 4]]))
    candidate = outputs([[0.1, 0.9]], heatmap=maps([[10, 20], [30, 45]]))
    expected = np.corrcoef([1, 2, 3, 4], [10, 20, 30, 45])[0, 1]
    assert compare(reference, candidate).heatmap_correlation == pytest.approx(expected)


def test_correlation_is_the_median_of_the_images() -> None:
    reference = outputs([[1, 0]] * 3, heatmap=maps(*[[[1, 2], [3, 4]]] * 3))
    candidate = outputs([[1, 0]] * 3, heatmap=maps([[1, 2], [3, 4]], [[1, 2], [4, 3]], [[4, 3], [2, 1]]))
    assert compare(reference, candidate).heatmap_correlation == pytest.approx(0.8)


def test_flat_reference_heatmaps_do_not_count_and_flat_candidates_count_as_zero() -> None:
    reference = outputs([[1, 0]] * 2, heatmap=maps([[5, 5], [5, 5]], [[1, 2], [3, 4]]))
    candidate = outputs([[1, 0]] * 2, heatmap=maps([[1, 9], [2, 3]], [[7, 7], [7, 7]]))
    assert compare(reference, candidate).heatmap_correlation == 0
    assert compare(candidate, reference).heatmap_correlation == 0
    assert compare(reference[:1], candidate[:1]).heatmap_correlation == 1


# --- accuracy --------------------------------------------------------------------------------------------------------


def answers(*classes: int) -> Outputs:
    """Returns outputs that predict the given classes of three."""
    return outputs(np.eye(3)[list(classes)])


def test_accuracy_change_is_paired() -> None:
    """The candidate loses two of the reference's ten images and gains one; the interval is Agresti and Min's."""
    labels = np.zeros(10, int)
    change = accuracy_change(answers(*[0] * 8, 1, 1), answers(*[0] * 6, 1, 1, 0, 1), labels)
    middle = (1.5 - 2.5) / 12
    spread = 1.959964 * math.sqrt((4 / 12 - middle**2) / 12)
    assert change is not None
    assert (change.images, change.reference, change.candidate, change.difference) == (10, 0.8, 0.7, -0.1)
    assert (change.low, change.high) == pytest.approx((middle - spread, middle + spread))


def test_accuracy_change_of_images_that_are_alike_is_that_of_fewer() -> None:
    """Ten images that count as five: half of the lost and gained ones, the same difference, a wider interval."""
    labels = np.zeros(10, int)
    change = accuracy_change(answers(*[0] * 8, 1, 1), answers(*[0] * 6, 1, 1, 0, 1), labels, effective_images=5.0)
    middle = (0.5 * 1 - 0.5 * 2) / 7
    spread = 1.959964 * math.sqrt(((0.5 * 3 + 1) / 7 - middle**2) / 7)
    assert change is not None
    assert (change.images, change.difference) == (10, -0.1)
    assert (change.low, change.high) == pytest.approx((middle - spread, middle + spread))


def test_models_that_never_differ_still_have_an_interval() -> None:
    change = accuracy_change(answers(0, 1, 2, 0), answers(0, 1, 2, 0), np.array([0, 1, 2, 1]))
    assert change is not None
    assert (change.reference, change.difference) == (0.75, 0)
    assert change.low < 0 < change.high


def test_images_without_a_label_do_not_count() -> None:
    change = accuracy_change(answers(0, 1), answers(0, 2), np.array([0, -1]))
    assert change is not None
    assert (change.images, change.difference) == (1, 0)
    assert accuracy_change(answers(0), answers(0), np.array([-1])) is None


def test_agreement_has_wilsons_interval() -> None:
    low, high = parity(images=280, agreement=279 / 280).agreement_interval
    assert (round(low, 4), round(high, 4)) == (0.9801, 0.9994)
    assert [round(end, 3) for end in parity(images=13).agreement_interval] == [0.772, 1.0]


def test_lowest_correlation_is_the_minimum_of_the_images() -> None:
    maps = np.random.default_rng(0).random((3, 2, 4, 4)).astype(np.float32)
    turned = maps.copy()
    turned[1, 0] = 1 - maps[1, 0]
    even = [[0.9, 0.1]] * 3
    found = compare(outputs(even, heatmap=maps), outputs(even, heatmap=turned))
    assert (round(found.heatmap_correlation, 6), round(found.lowest_heatmap_correlation, 6)) == (1, -1)


def with_novelty(*novelty: float) -> Outputs:
    return replace(outputs([[1, 0]] * len(novelty)), novelty=np.array(novelty, np.float32))


def test_novelty_is_compared_by_its_ranks_values_and_flags() -> None:
    found = compare(with_novelty(10, 20, 40, 0.5), with_novelty(11, 19, 39, 0.6), threshold=39.5)
    assert found.novelty_correlation == 1.0
    assert found.max_dnovelty == pytest.approx(0.1)  # 1 of 10; 0.1 of 0.5 counts as 0.1 of 1
    assert found.novelty_agreement == 0.75
    assert compare(with_novelty(1, 2), with_novelty(1, 2)).novelty_agreement is None
    plain = compare(outputs([[1, 0]]), outputs([[1, 0]]), threshold=1.0)
    assert (plain.novelty_correlation, plain.max_dnovelty, plain.novelty_agreement) == (None, None, None)
    assert "max_dnovelty" not in plain.as_dict()
    assert found.as_dict()["novelty_agreement"] == 0.75


def test_nan_novelty_is_flagged_and_has_no_rank() -> None:
    found = compare(with_novelty(1, 2, 3), with_novelty(1, 2, math.nan), threshold=5.0)
    assert math.isnan(found.novelty_correlation or 0)
    assert found.novelty_agreement == pytest.approx(2 / 3)


def test_novelty_of_one_model_only_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match=r"^expected two models with the output novelty, or without it, found one"):
        compare(with_novelty(1), outputs([[1, 0]]))


def test_rank_correlation_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    rng = np.random.default_rng(0)
    for first in (rng.normal(size=50), rng.integers(0, 5, 50).astype(np.float64)):
        second = first + rng.integers(0, 3, 50)
        assert rank_correlation(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    assert rank_correlation(np.ones(3), np.arange(3.0)) == 0.0
    assert rank_correlation(np.ones(3), np.ones(3)) == 1.0
    assert rank_correlation(np.arange(3.0), np.ones(3)) == 0.0
