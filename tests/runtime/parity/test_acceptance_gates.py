"""The gates: each bound that a comparison exceeds is reported, and no rounding hides it."""

import math
from dataclasses import replace

import pytest
from tests.runtime.parity.made_outputs import outputs, parity

from ctonnx.parity.acceptance_gates import GATES, Gate
from ctonnx.parity.comparison import AccuracyChange, Parity, compare

GATE = Gate(max_dp=1e-4, min_agreement=0.99)


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
def test_gate_names_each_bound_that_is_exceeded(found: Parity, failures: tuple[str, ...]) -> None:
    assert GATE.failures(found) == failures


@pytest.mark.parametrize(
    ("found", "failure"),
    [
        (parity(max_dp=1.00004e-4), "max |dp| is 0.000100004, at most 0.0001 is allowed"),
        (parity(images=10**6, agreement=0.989999), "agreement is 98.9999%, at least 99.00% is required"),
        (parity(heatmap_correlation=0.97996), "the heatmaps' median correlation is 0.97996, at least 0.98 is required"),
    ],
)
def test_value_beyond_a_bound_is_not_rounded_to_the_bound(found: Parity, failure: str) -> None:
    gate = Gate(max_dp=1e-4, min_agreement=0.99, min_heatmap_correlation=0.98)
    assert gate.failures(found) == (failure,)
    (bound,) = gate.broken(Parity(**{**found.as_dict(), "images": found.images}))  # as in a document
    assert bound.phrase.split(" is ")[0] == failure.split(" is ")[0]


@pytest.mark.parametrize("images", [72, 99, 100, 101, 259, 280, 1000, 1001])
def test_share_of_the_images_must_reach_its_bound_exactly(images: int) -> None:
    for differ in range(12):
        found = parity(images=images, agreement=(images - differ) / images)
        assert (GATES["int8"].failures(found) == ()) == (100 * differ <= images), differ


def test_exceeded_bound_has_an_interval_that_contains_it() -> None:
    def interval(images: int, differ: int) -> str:
        return GATES["int8"].broken(parity(images=images, agreement=1 - differ / images))[0].interval

    assert interval(259, 3) == "96.65% to 99.61%"
    assert interval(259, 9) == ""  # 93.5 to 98.2 %
    assert interval(8, 1) == ""
    assert GATES["int8"].broken(parity(agreement=math.nan))[0].interval == ""
    assert GATES["fp32"].broken(parity(max_dp=1.0))[0].interval == ""
    few = parity(decision_agreement=29 / 30, decision_images=30)
    assert GATES["int8"].broken(few)[0].interval == "83.33% to 99.41%"
    assert GATES["int8"].broken(parity(decision_agreement=0.9))[0].interval == ""  # of an unknown number


def test_kept_bound_is_unshown_if_part_of_the_interval_exceeds_it() -> None:
    gate = GATES["int8"]
    assert gate.unshown(parity(images=280, agreement=279 / 280)) == (
        "agreement of 99 %: the interval reaches down to 98.01 %",
    )
    assert gate.unshown(parity(images=1000, agreement=1.0)) == ()
    assert gate.unshown(parity(images=280, agreement=270 / 280)) == ()  # exceeded, not unshown
    change = AccuracyChange(images=280, reference=0.9, candidate=0.9, difference=0.0, low=-0.0071, high=0.0071)
    assert gate.unshown(parity(images=1000), change) == ("a loss of at most 0.5 points: the interval reaches 0.71",)
    assert GATES["fp32"].unshown(parity(), change) == ()


def test_shares_flagged_and_decided_alike_are_unshown_by_few_images() -> None:
    gate = GATES["int8"]
    alike = {"novelty_agreement": 1.0, "decision_agreement": 1.0}
    assert gate.unshown(parity(images=1000, decision_images=189, **alike)) == ()
    assert gate.unshown(parity(images=1000, decision_images=188, **alike)) == (
        "98 % decided alike, of 188 images that fitted no threshold: the interval reaches down to 97.998 %",
    )
    assert gate.unshown(parity(images=1000, **{**alike, "novelty_agreement": 0.985}, decision_images=200)) == (
        "98 % flagged alike as novel: the interval reaches down to 97.54 %",
    )
    exceeded = parity(images=1000, decision_agreement=0.97, decision_images=200)
    assert (gate.unshown(exceeded), gate.unshown(parity(images=1000))) == ((), ())


@pytest.mark.parametrize("place", ["reference", "candidate", "both"])
def test_nan_among_the_probabilities_fails_the_gate(place: str) -> None:
    whole, broken = outputs([[1, 0], [1, 0]]), outputs([[1, 0], [math.nan, 0]])
    found = compare(whole if place == "candidate" else broken, whole if place == "reference" else broken)
    assert GATES["fp32"].failures(found) == ("max |dp| is nan, at most 0.0001 is allowed",)


def test_fp32_gate_is_pinned() -> None:
    assert GATES["fp32"] == Gate(max_dp=1e-4, min_agreement=0.0, max_dnovelty=1e-3)


def test_heatmaps_without_correlation_fail() -> None:
    gate = Gate(max_dp=1.0, min_agreement=0.0, min_heatmap_correlation=0.98)
    assert gate.failures(parity(heatmap_correlation=0.98)) == ()
    assert gate.failures(parity(heatmap_correlation=0.97)) == (
        "the heatmaps' median correlation is 0.9700, at least 0.98 is required",
    )
    assert len(gate.failures(parity(heatmap_correlation=math.nan))) == 1


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
    (uncertain,) = gate.broken(parity(), replace(change(-0.01), low=-0.03, high=0.01))
    assert uncertain.interval == "a loss of -1.00 to 3.00 points"
    (certain,) = gate.broken(parity(), replace(change(-0.05), low=-0.08, high=-0.02))
    assert certain.interval == ""
    assert Gate(max_dp=1.0, min_agreement=0.0).failures(parity(), change(-0.5)) == ()


def test_loss_on_the_validation_images_counts_if_its_whole_interval_exceeds_the_bound() -> None:
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


@pytest.mark.parametrize(
    ("changes", "failures"),
    [
        ({}, ()),
        ({"max_dnovelty": 0.1, "novelty_correlation": 0.98, "novelty_agreement": 0.98}, ()),
        (
            {"max_dnovelty": 0.1004},
            ("an image's novelty differs by 10.04%, at most 10% is allowed",),
        ),
        (
            {"novelty_correlation": 0.97999},
            ("the novelty's rank correlation is 0.97999, at least 0.98 is required",),
        ),
        (
            {"novelty_agreement": 0.9799},
            ("97.99% of the images are flagged alike as novel, at least 98% are required",),
        ),
        ({"novelty_agreement": None}, ()),
        ({"decision_agreement": 0.98}, ()),
        ({"decision_agreement": 0.9799}, ("97.99% of the images are decided alike, at least 98% are required",)),
        ({"decision_agreement": math.nan}, ("nan% of the images are decided alike, at least 98% are required",)),
        (
            {"decision_agreement": 29 / 30, "decision_images": 30},
            ("96.67% of 30 images that fitted no threshold are decided alike, at least 98% are required",),
        ),
        ({"max_dnovelty": math.nan}, ("the novelty has values that are not finite",)),
        ({"max_dnovelty": math.inf}, ("the novelty has values that are not finite",)),
        ({"max_dnovelty": None, "novelty_correlation": None}, ()),
    ],
)
def test_each_bound_on_the_novelty_is_reported(changes: dict[str, float], failures: tuple[str, ...]) -> None:
    gate = Gate(
        max_dp=1.0,
        min_agreement=0.0,
        max_dnovelty=0.1,
        min_novelty_correlation=0.98,
        min_novelty_agreement=0.98,
        min_decision_agreement=0.98,
    )
    found = parity(**{"max_dnovelty": 0.0, "novelty_correlation": 1.0, "novelty_agreement": 1.0, **changes})
    assert gate.failures(found) == failures


def test_novelty_and_decisions_of_fp16_and_int8_are_bounded() -> None:
    for precision in ("fp16", "int8"):
        gate = GATES[precision]
        assert (gate.min_novelty_correlation, gate.min_novelty_agreement, gate.min_decision_agreement) == (0.98,) * 3


def test_excess_over_the_bounds_has_comparable_units() -> None:
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
        (GATES["fp32"], "max |dp| 0.0001 or less, novelty within 0.1 %"),
        (
            GATES["int8"],
            "agreement 99 % or more, a loss of accuracy of 0.5 points or less, heatmaps' median correlation 0.98 or "
            "more, novelty's rank correlation 0.98 or more, 98 % or more flagged alike as novel, 98 % or more "
            "decided alike",
        ),
        (Gate(max_dp=1.0, min_agreement=0.0), "any outputs that are numbers"),
    ],
)
def test_gate_has_a_summary(gate: Gate, summary: str) -> None:
    assert gate.summary == summary
