"""The gate for a few golden inputs does not round the share and excuses bounds that the export already exceeded."""

from dataclasses import replace

import numpy as np
import pytest

from ctonnx.parity.acceptance_gates import GATES, Gate
from ctonnx.parity.golden_gate import allow, disagreements
from ctonnx.parity.outputs import Outputs


def answers(images: int, *wrong: int, certainty: float = 0.9) -> Outputs:
    """Returns outputs that predict the first of two classes, except for the wrong images."""
    rows = np.tile(np.array([certainty, 1 - certainty], np.float32), (images, 1))
    rows[list(wrong)] = rows[list(wrong), ::-1]
    maps = np.tile(np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2), (images, 2, 1, 1))
    return Outputs(rows, np.log(rows), maps)


@pytest.mark.parametrize(
    ("images", "allowed", "reason"),
    [
        (1, 0, "99 % of 1 are all of them"),
        (8, 0, "99 % of 8 are all of them"),
        (99, 0, "99 % of 99 are all of them"),
        (100, 1, "99 % of 100 are at least 99"),
        (199, 1, "99 % of 199 are at least 198"),
        (259, 2, "99 % of 259 are at least 257"),
    ],
)
def test_share_of_a_few_images_is_not_rounded_to_more_that_may_differ(images: int, allowed: int, reason: str) -> None:
    found = allow(GATES["int8"], answers(images), answers(images))
    assert (found.images, found.disagreements, found.reason, found.excused) == (images, allowed, reason, ())
    compared = replace(GATES["int8"], min_novelty_correlation=None, min_novelty_agreement=None)
    assert found.gate == replace(compared, min_decision_agreement=None)


def test_as_many_may_differ_as_on_the_exporting_machine() -> None:
    found = allow(GATES["int8"], answers(8), answers(8, 3))
    assert found.disagreements == 1
    assert found.reason == "that many differed on the exporting machine, and its gate of 99 % was passed on more images"
    assert [bound.bound for bound in found.excused] == ["min_agreement"]
    assert found.gate.min_agreement == 7 / 8
    assert found.gate.max_drop == GATES["int8"].max_drop


def test_bounds_that_the_export_exceeded_on_these_images_are_excused_and_the_others_are_not() -> None:
    gate = Gate(max_dp=0.05, min_agreement=0.99, min_heatmap_correlation=0.98)
    found = allow(gate, answers(8), answers(8, certainty=0.8))
    assert (found.gate.max_dp, found.gate.min_agreement, found.gate.min_heatmap_correlation) == (1.0, 0.99, 0.98)
    turned = Outputs(answers(8).probabilities, answers(8).logits, -answers(8).heatmap)
    assert allow(gate, answers(8), turned).gate == Gate(max_dp=0.05, min_agreement=0.99)


def test_gate_without_a_bound_on_agreement_allows_any_number() -> None:
    found = allow(GATES["fp32"], answers(8), answers(8))
    assert (found.disagreements, found.reason) == (None, "its gate has only a bound on max |dp|")


def test_disagreements_are_counted_by_the_predicted_class() -> None:
    assert disagreements(answers(8), answers(8, 0, 5, certainty=0.6)) == 2
