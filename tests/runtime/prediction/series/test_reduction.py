"""Reduction of slices to one prediction: rule, score, probabilities, reasons to refer, counts."""

from dataclasses import replace

import numpy as np
import pytest
from tests.runtime.prediction.made_groups import POINT, SPEC, group_of, predicted, prediction, reduced, with_rule

from ctonnx.artifacts.decision.patient_rule import Aggregate
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.prediction.results import Failure
from ctonnx.prediction.series.choice import LeftOut
from ctonnx.prediction.series.ordering import in_order
from ctonnx.prediction.series.reduction import GroupFailure, GroupPrediction, GroupRule, Reduction
from ctonnx.prediction.series.slices import SliceRecord

SCORES = [0.25, 0.75, 0.125, 0.5]
SETS = PredictionSets(
    coverage=0.9, lowest={"normal": 0.2, "tumor": 0.2}, images={"normal": 40, "tumor": 40}, positive=("tumor",)
)


@pytest.mark.parametrize(
    ("aggregate", "k", "score", "carrying"),
    [("max", None, 0.75, [2]), ("top-k", 2, 0.625, [2, 4]), ("mean", None, 0.40625, [2, 4, 1, 3])],
)
def test_score_and_probabilities_are_means_over_the_carrying_slices(
    aggregate: Aggregate, k: int | None, score: float, carrying: list[int]
) -> None:
    found = predicted(SCORES, with_rule(aggregate, k))
    assert found.score == score
    assert found.probabilities == {"tumor": score, "normal": 1 - score}
    assert [one.number for one in found.carried_by] == carrying
    assert [one.score for one in found.carried_by] == [SCORES[number - 1] for number in carrying]
    assert (found.carrying, found.used) == (len(carrying), 4)


def test_score_is_that_of_the_mean_probabilities_in_float32_as_where_the_threshold_was_fitted() -> None:
    values = np.random.default_rng(0).random(7).astype(np.float32)
    found = predicted([float(value) for value in values], with_rule("mean"))
    assert found.score == float(np.float32(values.astype(np.float64).mean()))


def test_threshold_is_that_of_the_rule() -> None:
    assert predicted(SCORES, with_rule("mean", threshold=0.40625)).decision == "positive"
    assert predicted(SCORES, with_rule("mean", threshold=0.41)).decision == "negative"


def test_without_a_rule_the_most_suspicious_slice_decides_by_the_operating_point_for_slices() -> None:
    rule = GroupRule.of(replace(SPEC, prediction_sets=SETS))
    assert rule == GroupRule("max", None, POINT, SETS, of_patients=False)
    assert predicted(SCORES).decision == "positive"
    assert GroupRule.of(replace(SPEC, operating_point=None)) is None


def test_set_with_both_kinds_of_classes_is_referred() -> None:
    found = predicted([0.5, 0.5], with_rule("mean", prediction_sets=SETS))
    assert (found.decision, found.prediction_set) == ("refer", ("normal", "tumor"))
    assert found.reason == "the prediction set has both suspicious and other classes: normal, tumor"
    assert predicted([0.9], with_rule("mean", prediction_sets=SETS)).prediction_set == ("tumor",)


def test_more_than_half_of_the_carrying_slices_must_be_flagged_to_refer() -> None:
    novel = prediction("scans/1.dcm", 0.9, is_novel=True, novelty=99.0)
    warned = prediction("scans/2.dcm", 0.8, caution="a localizer (scout), not a slice")
    half = predicted([novel, 0.8, 0.1, 0.1], with_rule("top-k", 2))
    assert (half.decision, half.reason, half.novel_share) == ("positive", None, 0.25)
    both = predicted([novel, warned, 0.7, 0.1], with_rule("top-k", 3))
    assert both.decision == "refer"
    assert both.reason == (
        "2 of the 3 slices that carried the score are flagged: unlike the training images; a localizer (scout), not a "
        "slice"
    )
    one = predicted([novel, 0.1])
    assert one.reason == "the slice that carried the score is flagged: unlike the training images"


def test_flags_of_slices_that_did_not_carry_the_score_do_not_count() -> None:
    novel = prediction("scans/1.dcm", 0.1, is_novel=True)
    assert predicted([novel, 0.9]).decision == "positive"


def test_novelty_is_the_median_of_the_carrying_slices() -> None:
    slices = [prediction(f"scans/{n}.dcm", 0.9 - n / 10, novelty=float(n**2)) for n in range(1, 5)]
    assert predicted(slices, with_rule("top-k", 3)).novelty == 4.0
    broken = prediction("scans/1.dcm", 0.9, novelty=None, is_novel=True)
    assert predicted([broken, 0.1]).novelty is None
    without = predicted(SCORES, replace(SPEC, novelty=None))
    assert (without.novelty, without.novel_share) == (None, None)


def test_positions_numbers_and_the_curve() -> None:
    found = predicted(SCORES, positions=True)
    (first,) = found.carried_by
    assert (first.file, first.position, first.number, first.place) == ("scans/2.dcm", -97.5, None, "-97.5 mm")
    assert found.curve.places.tolist() == [-100, -97.5, -95, -92.5]
    assert found.curve.scores.tolist() == SCORES
    assert (found.curve.carrying.tolist(), found.curve.axis, found.curve.is_axial) == ([1], "mm", True)
    assert predicted(SCORES).carried_by[0].place == "slice 2"


def test_only_the_three_strongest_predictions_are_kept_the_first_of_equal_ones_first() -> None:
    found = predicted([0.5, 0.9, 0.1, 0.5, 0.5])
    assert [(index, kept.source) for index, kept in found.strongest] == [
        (1, "scans/2.dcm"),
        (0, "scans/1.dcm"),
        (3, "scans/4.dcm"),
    ]


def test_at_most_five_slices_and_failures_are_named() -> None:
    failures = [Failure(f"scans/{number}.dcm", "the file is empty") for number in range(1, 8)]
    found = predicted([*failures, *[0.5] * 7], with_rule("mean"))
    assert (len(found.carried_by), found.carrying, found.used) == (5, 7, 7)
    assert ([one.source for one in found.failures], found.failed) == ([f"scans/{n}.dcm" for n in range(1, 6)], 7)
    assert [one.number for one in found.carried_by] == [8, 9, 10, 11, 12]


def test_group_whose_slices_all_failed_is_a_failure() -> None:
    failures = [Failure(f"scans/{number}.dcm", "the file is empty") for number in (1, 2)]
    found = reduced(failures)
    assert isinstance(found, GroupFailure)
    assert (found.error, found.failed) == ("none of its 2 files can be read; the first: the file is empty", 2)
    assert reduced(failures[:1]).as_dict()["error"] == "the file is empty"


def test_frames_are_matched_to_their_file() -> None:
    slices = [SliceRecord("a", frames=2), SliceRecord("a#1"), SliceRecord("b")]
    rule = GroupRule.of(SPEC)
    assert rule is not None
    reduction = Reduction(group_of(slices), in_order(slices), SPEC, rule)
    for record in (
        prediction("a#1", 0.1, frame=0),
        Failure("a#2", "broken", 1),
        prediction("a#1", 0.2),
        prediction("b", 0.3),
    ):
        assert reduction.takes(record)
        reduction.add(record)
    assert not reduction.takes(prediction("c", 0.1))
    found = reduction.result()
    assert isinstance(found, GroupPrediction)
    assert (found.curve.places.tolist(), found.curve.scores.round(1).tolist()) == ([1, 3, 4], [0.1, 0.2, 0.3])


def test_documents_of_a_prediction_and_a_failure_have_the_same_keys() -> None:
    found = predicted(SCORES, with_rule("top-k", 2), left_out=(LeftOut("localizer", 2),), taken="4 slices: most slices")
    document = found.as_dict()
    assert {key: document[key] for key in ("group", "by", "decision", "left_out", "taken", "error")} == {
        "group": "ab12",
        "by": "series",
        "decision": "positive",
        "left_out": [{"reason": "localizer", "slices": 2}],
        "taken": "4 slices: most slices",
        "error": None,
    }
    assert document["carried_by"][0] == {"file": "scans/2.dcm", "position_mm": None, "number": 2, "score": 0.75}
    failure = GroupFailure(by="series", name=None, folders=("x",), error="no series", failed=2).as_dict()
    assert list(failure) == list(document)
    assert (failure["error"], failure["failed"], failure["group"]) == ("no series", 2, None)


def test_score_of_float32_sums_is_at_most_one() -> None:
    spec = replace(SPEC, classes=("normal", "a", "b"), operating_point=replace(POINT, positive=("a", "b")))
    slices = [SliceRecord("x")]
    rule = GroupRule.of(spec)
    assert rule is not None
    reduction = Reduction(group_of(slices), in_order(slices), spec, rule)
    third = float(np.nextafter(np.float32(0.5), np.float32(1)))
    record = replace(prediction("x", 1.0), probabilities={"a": third, "b": third, "normal": 0.0})
    assert reduction.takes(record)
    reduction.add(record)
    found = reduction.result()
    assert isinstance(found, GroupPrediction)
    assert found.score == found.carried_by[0].score == 1.0


def test_group_with_slices_that_cannot_be_read_is_not_negative() -> None:
    failure = Failure("scans/3.dcm", "the file is empty")
    assert predicted([0.1, 0.2], with_rule("max")).decision == "negative"
    found = predicted([0.1, 0.2, failure], with_rule("max"))
    assert (found.decision, found.reason) == (
        "refer",
        "1 of 3 slices cannot be read, and a finding may be there",
    )
    assert predicted([0.1, 0.9, failure], with_rule("max")).decision == "positive"


def test_slices_of_two_studies_are_of_two_series() -> None:
    def count(*known: tuple[str, str]) -> int:
        slices = [SliceRecord(f"{row}", study=study, series=series) for row, (study, series) in enumerate(known)]
        rule = GroupRule.of(SPEC)
        assert rule is not None
        reduction = Reduction(group_of(slices), in_order(slices), SPEC, rule)
        for one in slices:
            assert reduction.takes(prediction(one.file, 0.5))
            reduction.add(prediction(one.file, 0.5))
        found = reduction.result()
        assert isinstance(found, GroupPrediction)
        return found.series

    assert count(("a", "1"), ("a", "1"), ("a", "2")) == 2
    assert count(("a", ""), ("b", "")) == 2
    assert count(("", ""), ("", "")) == 0


def test_patient_with_another_study_is_not_negative() -> None:
    other = (LeftOut("of another study", 40, "40 slices"), LeftOut("of another series", 2, "2 slices"))
    found = predicted([0.1, 0.2], with_rule("max"), left_out=other)
    assert (found.decision, found.reason) == (
        "refer",
        "40 slices of another study are not predicted, and a finding may be there; --by study decides about each",
    )
    assert predicted([0.1, 0.9], with_rule("max"), left_out=other).decision == "positive"
    assert predicted([0.1, 0.2], with_rule("max"), left_out=other[1:]).decision == "negative"
