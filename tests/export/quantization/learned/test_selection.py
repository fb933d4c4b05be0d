"""Selection: a trained candidate must be better on the images that choose, and the others judge it."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tests.export.quantization.search.test_judging import GATE, Fakes, compared_set

from ctonnx_export.quantization.learned.selection import Finalist, select
from ctonnx_export.quantization.qdq import Scheme
from ctonnx_export.quantization.search.judging import DividedChoice, Judging, divide, judged_by
from ctonnx_export.trial import ComparisonSet, judge


def finalist(label: str, compared: ComparisonSet, wrong: Sequence[int] | NDArray[np.intp]) -> Finalist:
    """Returns a candidate that differs from the reference in some rows."""
    measured = Fakes(compared, {"minmax": wrong}).measured(Scheme(calibrator="minmax"))
    return Finalist(label=label, model=onnx.ModelProto(), measured=measured)


def judging_of(compared: ComparisonSet, plain: Finalist) -> Judging:
    """Returns the images that judge if every division chose the plain candidate."""
    choices = [
        DividedChoice(choosing=of.choosing, judging=of.judging, label=plain.label, measured=plain.measured)
        for of in divide(compared)
    ]
    return judged_by(choices, len(compared))


def test_the_better_one_on_the_choosing_half_is_chosen_and_the_other_half_judges_it() -> None:
    compared = compared_set(100, 400)
    (division,) = divide(compared)
    plain = finalist("plain", compared, division.choosing[:3])
    trained = finalist("trained", compared, [*division.choosing[:2], *division.judging[:50]])
    winner, judging = select(plain, [trained], judging_of(compared, plain), compared, GATE)
    assert winner is trained
    assert (judging.method, judging.judging.tolist()) == ("halves", division.judging.tolist())
    assert judge(winner.measured, compared, GATE, judging.judging).parity.agreement == 0.8


def test_the_plain_candidate_stays_if_no_other_is_better() -> None:
    compared = compared_set(100, 400)
    (division,) = divide(compared)
    plain = finalist("plain", compared, [*division.choosing[:2], *division.judging[:50]])
    trained = [finalist(name, compared, division.choosing[:2]) for name in ("trained", "corrected")]
    assert select(plain, trained, judging_of(compared, plain), compared, GATE)[0] is plain


def test_the_best_of_several_trained_ones_is_chosen() -> None:
    compared = compared_set(100, 400)
    (division,) = divide(compared)
    plain, trained, corrected = (
        finalist(name, compared, division.choosing[:count]) for name, count in (("a", 9), ("b", 4), ("c", 2))
    )
    assert select(plain, [trained, corrected], judging_of(compared, plain), compared, GATE)[0] is corrected


def test_each_fold_is_judged_by_what_the_other_folds_chose() -> None:
    compared = compared_set(20, 30)
    divisions = divide(compared)
    first, second = divisions[0].judging, divisions[1].judging
    # The trained one is wrong once, in the first fold, and the plain one twice, in the second: without the second, the
    # plain one is better.
    plain, trained = finalist("plain", compared, second[:2]), finalist("trained", compared, first[:1])
    winner, judging = select(plain, [trained], judging_of(compared, plain), compared, GATE)
    assert winner is trained
    assert judging.folds == ("trained", "plain", "trained", "trained", "trained")
    assert judging.outputs is not None
    differing = judging.outputs.probabilities.argmax(axis=1) != compared.reference.probabilities.argmax(axis=1)
    assert np.flatnonzero(differing).tolist() == sorted([int(first[0]), *second[:2].tolist()])


@pytest.mark.parametrize("images", [30, 500])
def test_outputs_for_the_images_that_judge_do_not_change_the_choice(images: int) -> None:
    compared = compared_set(images // 3, images - images // 3)
    random = np.random.default_rng(0)
    for number, division in enumerate(divide(compared)):
        faults = [random.choice(division.choosing, count, replace=False) for count in (3, 2)]
        found = set()
        for _ in range(4):
            noisy = [[*rows, *division.judging[random.random(len(division.judging)) < 0.5]] for rows in faults]
            plain, trained = (finalist(name, compared, wrong) for name, wrong in zip("pt", noisy, strict=True))
            judging = select(plain, [trained], judging_of(compared, plain), compared, GATE)[1]
            found.add(judging.choices[number].label)
        assert found == {"t"}
