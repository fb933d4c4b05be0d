"""The comparison's figures, computed by hand, and the gate that they must pass."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ctonnx.parity.comparison import AccuracyChange, Parity, accuracy_change, compare
from ctonnx.parity.gates import GATES, Gate
from ctonnx.parity.outputs import Outputs

GATE = Gate(max_dp=1e-4, min_agreement=0.99)


def outputs(probabilities: Any, logits: Any = None, heatmap: Any = None) -> Outputs:
    """Returns outputs whose logits and heatmap are zeros where none are given."""
    given = np.array(probabilities, np.float32)
    return Outputs(
        given,
        np.zeros(given.shape, np.float32) if logits is None else np.array(logits, np.float32),
        np.zeros((*given.shape, 2, 2), np.float32) if heatmap is None else np.array(heatmap, np.float32),
    )


def parity(**changes: Any) -> Parity:
    """Returns the parity of two models that agree, with changes."""
    same: dict[str, Any] = {
        "images": 4, "agreement": 1.0, "max_dp": 0.0, "mean_dp": 0.0, "max_dlogit": 0.0, "max_dheatmap": 0.0,
        "heatmap_correlation": 1.0, "lowest_heatmap_correlation": 1.0,
    }  # fmt: skip
    return Parity(**{**same, **changes})


def test_figures_are_those_computed_by_hand() -> None:
    reference = outputs([[0.75, 0.25], [0.5, 0.25], [0, 1]], [[1, 2], [3, 4], [5, 6]], np.full((3, 2, 1, 1), 4))
    candidate = outputs([[0.5, 0.5], [0.25, 0.5], [0, 1]], [[1, 2], [3, 2], [5, 6.5]], np.full((3, 2, 1, 1), 3))
    assert compare(reference, candidate) == Parity(
        images=3,
        agreement=2 / 3,  # the second image changes its class; of the first image's tie the first class is taken
        max_dp=0.25,
        mean_dp=1 / 6,  # four differences of 0.25 over six probabilities
        max_dlogit=2.0,
        max_dheatmap=0.25,  # 1 of the reference's largest, 4
        heatmap_correlation=1.0,
        lowest_heatmap_correlation=1.0,  # the reference's maps are the same everywhere
    )


def test_model_agrees_with_itself() -> None:
    same = outputs([[0.9, 0.1]], [[3, 1]], [[[[1, 2]], [[0, 5]]]])
    assert compare(same, same) == parity(images=1)


def test_difference_is_taken_in_double_precision() -> None:
    reference, candidate = outputs([[1.0, 0.0]]), outputs([[1.0 - 2**-24, 2**-24]])
    assert compare(reference, candidate).max_dp == 2**-24


def test_heatmap_that_should_be_zero_and_is_not_stands_out() -> None:
    assert compare(outputs([[1, 0]]), outputs([[1, 0]], heatmap=np.ones((1, 2, 2, 2)))).max_dheatmap > 1e9


def test_figures_are_written_with_three_digits_and_shares_with_six_and_none_in_our_favour() -> None:
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


@pytest.mark.parametrize(
    ("found", "failures"),
    [
        (parity(), ()),
        (parity(max_dp=1e-4, agreement=0.99), ()),
        (parity(max_dp=0.01234), ("max |dp| is 0.0123, at most 0.0001 is allowed",)),
        (parity(agreement=0.98765), ("agreement is 98.77%, at least 99.00% is required",)),
        (
            parity(max_dp=1.0, agreement=0.0),
            ("max |dp| is 1, at most 0.0001 is allowed", "agreement is 0.00%, at least 99.00% is required"),
        ),
        (parity(max_dp=math.nan), ("max |dp| is nan, at most 0.0001 is allowed",)),
        (parity(agreement=math.nan), ("agreement is nan%, at least 99.00% is required",)),
    ],
)
def test_gate_names_each_bound_that_is_broken(found: Parity, failures: tuple[str, ...]) -> None:
    assert GATE.failures(found) == failures


@pytest.mark.parametrize(
    ("found", "failure"),
    [
        (parity(max_dp=1.00004e-4), "max |dp| is 0.000100004, at most 0.0001 is allowed"),
        (parity(images=10**6, agreement=0.989999), "agreement is 98.9999%, at least 99.00% is required"),
        (parity(heatmap_correlation=0.97996), "the heatmaps' median correlation is 0.97996, at least 0.98 is required"),
    ],
)
def test_figure_beside_a_broken_bound_is_not_rounded_to_one_that_keeps_it(found: Parity, failure: str) -> None:
    gate = Gate(max_dp=1e-4, min_agreement=0.99, min_heatmap_correlation=0.98)
    assert gate.failures(found) == (failure,)
    (bound,) = gate.broken(Parity(**{**found.as_dict(), "images": found.images}))  # as a document holds it
    assert bound.phrase.split(" is ")[0] == failure.split(" is ")[0]


@pytest.mark.parametrize("images", [72, 99, 100, 101, 259, 280, 1000, 1001])
def test_share_of_the_images_must_reach_its_bound_and_no_fraction_less(images: int) -> None:
    for differ in range(12):
        found = parity(images=images, agreement=(images - differ) / images)
        assert (GATES["int8"].failures(found) == ()) == (100 * differ <= images), differ


def test_broken_bound_says_where_its_interval_reaches_it() -> None:
    def doubt(images: int, differ: int) -> str:
        return GATES["int8"].broken(parity(images=images, agreement=1 - differ / images))[0].doubt

    assert doubt(259, 3) == "96.65% to 99.61%"
    assert doubt(259, 9) == ""  # 93.5 to 98.2 %
    assert doubt(8, 1) == ""
    assert GATES["int8"].broken(parity(agreement=math.nan))[0].doubt == ""
    assert GATES["fp32"].broken(parity(max_dp=1.0))[0].doubt == ""


def test_bound_that_is_kept_is_shown_where_the_whole_interval_keeps_it() -> None:
    gate = GATES["int8"]
    assert gate.unshown(parity(images=280, agreement=279 / 280)) == (
        "agreement of 99 %: the interval reaches down to 98.01 %",
    )
    assert gate.unshown(parity(images=1000, agreement=1.0)) == ()
    assert gate.unshown(parity(images=280, agreement=270 / 280)) == ()  # it is broken, not unshown
    change = AccuracyChange(images=280, reference=0.9, candidate=0.9, difference=0.0, low=-0.0071, high=0.0071)
    assert gate.unshown(parity(images=1000), change) == ("a loss of at most 0.5 points: the interval reaches 0.71",)
    assert GATES["fp32"].unshown(parity(), change) == ()


@pytest.mark.parametrize("place", ["reference", "candidate", "both"])
def test_nan_among_the_probabilities_fails_the_gate(place: str) -> None:
    whole, broken = outputs([[1, 0], [1, 0]]), outputs([[1, 0], [math.nan, 0]])
    found = compare(whole if place == "candidate" else broken, whole if place == "reference" else broken)
    assert GATES["fp32"].failures(found) == ("max |dp| is nan, at most 0.0001 is allowed",)


def test_fp32_gate_is_pinned() -> None:
    assert GATES["fp32"] == Gate(max_dp=1e-4, min_agreement=0.0)


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
    """Returns heatmaps of two classes, the first class's as given, for each image."""
    first = np.array(values, np.float32)
    return np.stack([first, np.zeros_like(first)], axis=1)


def test_heatmaps_are_compared_for_the_references_most_probable_class() -> None:
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


def test_heatmaps_that_do_not_correlate_do_not_pass() -> None:
    gate = Gate(max_dp=1.0, min_agreement=0.0, min_heatmap_correlation=0.98)
    assert gate.failures(parity(heatmap_correlation=0.98)) == ()
    assert gate.failures(parity(heatmap_correlation=0.97)) == (
        "the heatmaps' median correlation is 0.9700, at least 0.98 is required",
    )
    assert len(gate.failures(parity(heatmap_correlation=math.nan))) == 1


# --- accuracy --------------------------------------------------------------------------------------------------------


def answers(*classes: int) -> Outputs:
    """Returns outputs whose most probable classes are those given, of three."""
    return outputs(np.eye(3)[list(classes)])


def test_accuracy_change_is_paired() -> None:
    """Of ten images the candidate loses two that the reference had and gains one: Agresti and Min's interval."""
    labels = np.zeros(10, int)
    change = accuracy_change(answers(*[0] * 8, 1, 1), answers(*[0] * 6, 1, 1, 0, 1), labels)
    middle = (1.5 - 2.5) / 12
    spread = 1.959964 * math.sqrt((4 / 12 - middle**2) / 12)
    assert change is not None
    assert (change.images, change.reference, change.candidate, change.difference) == (10, 0.8, 0.7, -0.1)
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


def test_loss_of_accuracy_is_bounded_and_a_gain_is_not() -> None:
    gate = Gate(max_dp=1.0, min_agreement=0.0, max_drop=0.005)

    def change(difference: float) -> AccuracyChange:
        return AccuracyChange(
            images=200, reference=0.9, candidate=0.9 + difference, difference=difference, low=-1, high=1
        )

    assert gate.failures(parity(), change(-0.005)) == ()
    assert gate.failures(parity(), change(0.2)) == ()
    assert gate.failures(parity(), None) == ()
    assert gate.failures(parity(), change(-0.01)) == ("accuracy falls by 1.00 points, at most 0.5 are allowed",)
    assert gate.failures(parity(), change(-0.0050001)) == ("accuracy falls by 0.50001 points, at most 0.5 are allowed",)
    (doubted,) = gate.broken(parity(), replace(change(-0.01), low=-0.03, high=0.01))
    assert doubted.doubt == "a loss of -1.00 to 3.00 points"
    (certain,) = gate.broken(parity(), replace(change(-0.05), low=-0.08, high=-0.02))
    assert certain.doubt == ""
    assert Gate(max_dp=1.0, min_agreement=0.0).failures(parity(), change(-0.5)) == ()


def test_loss_on_the_validation_images_counts_where_its_interval_leaves_no_doubt() -> None:
    gate = Gate(max_dp=1.0, min_agreement=0.0, max_drop=0.005)

    def change(difference: float, high: float) -> AccuracyChange:
        return AccuracyChange(images=72, reference=0.9, candidate=0.9, difference=difference, low=-1, high=high)

    fine = change(0.0, 0.01)
    assert gate.failures(parity(), fine, change(-0.0139, 0.012)) == ()  # one scan of 72
    assert gate.failures(parity(), fine, change(-0.0694, -0.0123)) == (
        "accuracy falls by 6.94 points on the validation images, by at least 1.23 (95 % interval), at most 0.5 are "
        "allowed",
    )


def test_gates_are_the_designs() -> None:
    assert (GATES["fp32"].max_dp, GATES["fp16"].max_dp) == (1e-4, 5e-3)
    assert (GATES["int8"].min_agreement, GATES["int8"].max_drop) == (0.99, 0.005)
    assert (GATES["fp16"].min_heatmap_correlation, GATES["int8"].min_heatmap_correlation) == (0.999, 0.98)


def test_bounds_are_broken_by_an_excess_that_makes_them_comparable() -> None:
    gate = Gate(max_dp=0.05, min_agreement=0.99, max_drop=0.005, min_heatmap_correlation=0.98)
    found = parity(max_dp=0.1, agreement=0.97, heatmap_correlation=0.97)
    change = AccuracyChange(images=200, reference=0.9, candidate=0.88, difference=-0.02, low=-0.04, high=-0.01)
    broken = gate.broken(found, change, change)
    assert [bound.bound for bound in broken] == [
        "max_dp",
        "min_agreement",
        "min_heatmap_correlation",
        "max_drop",
        "max_drop",
    ]
    assert [round(bound.excess, 6) for bound in broken] == [1, 2, 0.5, 1.5, 0.5]
    assert tuple(bound.phrase for bound in broken) == gate.failures(found, change, change)
    (nan,) = gate.broken(parity(max_dp=math.nan))
    assert nan.excess == math.inf


@pytest.mark.parametrize(
    ("gate", "summary"),
    [
        (GATES["fp32"], "max |dp| 0.0001 or less"),
        (
            GATES["int8"],
            "agreement 99 % or more, a loss of accuracy of 0.5 points or less, heatmaps' median correlation 0.98 or "
            "more",
        ),
        (Gate(max_dp=1.0, min_agreement=0.0), "any answers that are numbers"),
    ],
)
def test_gate_sums_up_what_it_asks_for(gate: Gate, summary: str) -> None:
    assert gate.summary == summary


def test_agreement_has_wilsons_interval() -> None:
    low, high = parity(images=280, agreement=279 / 280).agreement_interval
    assert (round(low, 4), round(high, 4)) == (0.9801, 0.9994)
    assert [round(end, 3) for end in parity(images=13).agreement_interval] == [0.772, 1.0]


def test_interval_of_none_and_of_all_ends_there_exactly() -> None:
    assert all(parity(images=images).agreement_interval[1] == 1.0 for images in range(1, 300))
    assert all(parity(images=images, agreement=0.0).agreement_interval[0] == 0.0 for images in range(1, 300))


def test_lowest_correlation_is_that_of_one_image() -> None:
    maps = np.random.default_rng(0).random((3, 2, 4, 4)).astype(np.float32)
    turned = maps.copy()
    turned[1, 0] = 1 - maps[1, 0]
    even = [[0.9, 0.1]] * 3
    found = compare(outputs(even, heatmap=maps), outputs(even, heatmap=turned))
    assert (round(found.heatmap_correlation, 6), round(found.lowest_heatmap_correlation, 6)) == (1, -1)
