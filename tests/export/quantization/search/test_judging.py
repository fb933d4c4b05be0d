"""Judging: images that chose nothing judge a candidate, in halves or in folds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.export.builders import image_set

from ctonnx.parity.acceptance_gates import Gate
from ctonnx.parity.outputs import Outputs
from ctonnx_export.quantization.calibration import CALIBRATORS
from ctonnx_export.quantization.qdq import Scheme
from ctonnx_export.quantization.search.judging import FOLDS, HALVES_FROM, deal, divide
from ctonnx_export.quantization.search.scheme_search import choose, choose_and_divide
from ctonnx_export.trial import ComparisonSet, Measured, judge

GATE = Gate(max_dp=1.0, min_agreement=0.9)


def outputs_of(classes: NDArray[np.intp]) -> Outputs:
    """Returns outputs that are sure of these classes, of three."""
    probabilities = np.eye(3, dtype=np.float32)[classes]
    return Outputs(probabilities, probabilities, np.zeros((len(classes), 3, 1, 1), np.float32))


def compared_set(valid: int, train: int, *, seed: int = 0) -> ComparisonSet:
    """Returns images of three classes in turn, which the reference names correctly."""
    labels = np.arange(valid + train) % 3
    pixels = np.zeros((len(labels), 2, 2, 3), np.uint8)
    parts = (image_set(pixels[:valid], labels[:valid]), image_set(pixels[valid:], labels[valid:]))
    return ComparisonSet(parts=parts, reference=outputs_of(labels), seed=seed)


@dataclass
class Fakes:
    """Candidates with integer adds that differ from the reference in some rows; all others differ everywhere.

    Attributes:
        wrong: Rows in which each calibrator's candidate names another class.
    """

    compared: ComparisonSet
    wrong: Mapping[str, Sequence[int] | NDArray[np.intp]]

    def measured(self, scheme: Scheme) -> Measured:
        classes = self.compared.reference.probabilities.argmax(axis=1)
        rows = np.arange(len(classes))
        if scheme.integer_adds and scheme.calibrator in self.wrong:
            rows = np.array(self.wrong[scheme.calibrator], np.intp)
        classes[rows] = (classes[rows] + 1) % 3
        return Measured(outputs=outputs_of(classes), milliseconds=1.0, bytes=1, scheme=scheme.as_dict())

    def ranked(self, scheme: Scheme) -> tuple[str, ...]:
        return ()


@pytest.mark.parametrize("seed", [0, 3])
def test_many_images_are_halved_with_the_same_shares_of_origins_and_classes(seed: int) -> None:
    compared = compared_set(100, 300, seed=seed)
    assert len(compared) == HALVES_FROM
    (division,) = divide(compared)
    assert sorted([*division.choosing, *division.judging]) == list(range(400))
    assert compared.counts(division.judging) == compared.counts(division.choosing) == {"valid": 50, "train": 150}
    for rows in (division.choosing, division.judging):
        assert sorted(Counter((compared.labels[rows]).tolist()).values()) in ([66, 67, 67], [66, 66, 68])
    (again,) = divide(compared_set(100, 300, seed=seed))
    assert again.judging.tolist() == division.judging.tolist()
    (other,) = divide(compared_set(100, 300, seed=seed + 1))
    assert other.judging.tolist() != division.judging.tolist()


def test_each_of_few_images_is_judged_by_one_fold_and_chooses_in_the_others() -> None:
    compared = compared_set(100, 299)
    divisions = divide(compared)
    assert len(divisions) == FOLDS
    assert sorted(row for division in divisions for row in division.judging) == list(range(399))
    assert [len(division.judging) for division in divisions] == [80, 80, 80, 80, 79]
    for division in divisions:
        assert sorted([*division.choosing, *division.judging]) == list(range(399))
        assert compared.counts(division.judging)["valid"] == 20


@pytest.mark.parametrize("images", [2, 3, 4])
def test_fewer_images_than_folds_have_a_fold_each(images: int) -> None:
    divisions = divide(compared_set(1, images - 1))
    assert sorted(division.judging.tolist() for division in divisions) == [[row] for row in range(images)]
    compared = compared_set(1, images - 1)
    _, judging = choose_and_divide(Fakes(compared, {"minmax": []}), compared, GATE)
    assert (judging.method, judging.folds) == ("folds", ("minmax, integer adds",) * images)


def test_a_single_image_chooses_and_judges_and_the_report_names_that() -> None:
    compared = compared_set(1, 0)
    choice, judging = choose_and_divide(Fakes(compared, {"minmax": []}), compared, GATE)
    assert choice.scheme.calibrator == "minmax"
    assert judging.as_dict(compared) == {
        "method": "none",
        "choosing": {"valid": 1, "train": 0},
        "judging": {"valid": 1, "train": 0},
    }


def test_images_of_a_patient_and_copies_stay_together() -> None:
    compared = compared_set(200, 200)
    patients = {f"{row}.png": f"patient {row // 10}" for row in range(200)}  # of validation and training images
    (division,) = divide(replace(compared, patients=patients))
    judges = {row % 200 // 10 for row in division.judging.tolist()}
    assert judges.isdisjoint({row % 200 // 10 for row in division.choosing.tolist()})
    assert len(division.judging) == 200
    one = divide(replace(compared_set(3, 3), patients=dict.fromkeys((f"{row}.png" for row in range(3)), "one")))
    assert len(one) == FOLDS  # a single patient is divided


def test_copies_stay_together() -> None:
    compared = compared_set(40, 0)
    compared.parts[0].store.digests.update({f"{row}.png": f"pixels {row // 2}" for row in range(40)})
    for division in divide(compared):
        assert {row // 2 for row in division.judging}.isdisjoint({row // 2 for row in division.choosing})


def test_added_images_have_no_patient_of_an_image_with_the_same_path() -> None:
    compared = replace(compared_set(2, 2), origins=("valid", "added"), patients={"0.png": "one"})
    assert compared.groups == ("one", "valid/1.png", "added/0.png", "added/1.png")


def test_a_group_goes_to_the_part_with_the_fewest_of_its_class() -> None:
    part = deal(["a"] * 6 + ["b"] * 6, tuple("112222" + "345678"), 2, seed=0).tolist()
    assert part[:6] == [1, 1, 0, 0, 0, 0]  # the largest group first
    assert sorted(Counter(part[6:]).values()) == [3, 3]


def test_a_candidate_that_fits_the_choosing_images_is_rejected_by_those_that_judge() -> None:
    compared = compared_set(100, 400)
    (division,) = divide(compared)
    candidates = Fakes(compared, {"minmax": division.judging[:50], "entropy": [*division.choosing[:10]]})
    choice, judging = choose_and_divide(candidates, compared, GATE)
    assert choice.scheme.calibrator == "minmax"
    best = next(trial for trial in choice.trials if trial.scheme == choice.scheme.as_dict())
    assert (best.parity.agreement, best.parity.images, best.broken) == (1.0, 250, ())
    judged = judge(candidates.measured(choice.scheme), compared, GATE, judging.judging)
    assert (judged.parity.agreement, judged.parity.images) == (0.8, 250)
    assert judged.failures == ("agreement is 80.00%, at least 90.00% is required",)
    assert judging.place == "on the 250 images that judge, which chose nothing"


@pytest.mark.parametrize("images", [30, 500])
def test_outputs_for_the_images_that_judge_do_not_change_the_choice(images: int) -> None:
    compared = compared_set(images // 3, images - images // 3)
    random = np.random.default_rng(0)
    for division in divide(compared):
        right: dict[str, NDArray[np.intp]] = {
            name: random.choice(division.choosing, number) for number, name in enumerate(CALIBRATORS, 1)
        }
        chosen = choose(Fakes(compared, right), compared, GATE, division.choosing)
        for _ in range(3):
            noisy: dict[str, Sequence[int]] = {
                name: [*rows, *division.judging[random.random(len(division.judging)) < 0.5]]
                for name, rows in right.items()
            }
            assert choose(Fakes(compared, noisy), compared, GATE, division.choosing) == chosen


def test_folds_are_pooled_from_the_candidates_that_the_other_folds_choose() -> None:
    compared = compared_set(20, 30)
    divisions = divide(compared)
    first = divisions[0].judging
    # minmax is wrong twice, in the first fold, and entropy once, in the second: without the first, minmax is best.
    candidates = Fakes(compared, {"minmax": first[:2], "entropy": [divisions[1].judging[0]]})
    choice, judging = choose_and_divide(candidates, compared, GATE)
    assert choice.scheme.calibrator == "entropy"
    assert {len(choice.trials), choice.trials[0].parity.images} == {6, 50}
    assert judging.folds == ("minmax, integer adds", *["entropy, integer adds"] * 4)
    assert judging.as_dict(compared) == {
        "method": "folds",
        "choosing": {"valid": 20, "train": 30},
        "judging": {"valid": 20, "train": 30},
        "folds": {"entropy, integer adds": 4, "minmax, integer adds": 1},
    }
    assert judging.outputs is not None
    differing = judging.outputs.probabilities.argmax(axis=1) != compared.reference.probabilities.argmax(axis=1)
    # The fold of minmax has its two faults, and one of the others that of entropy.
    assert np.flatnonzero(differing).tolist() == sorted([*first[:2].tolist(), int(divisions[1].judging[0])])
    assert judging.place == "on 50 images, each with the candidate that the other folds chose"


def test_candidates_that_only_a_fold_needs_are_named_in_the_log() -> None:
    compared = compared_set(20, 30)
    first = divide(compared)[0].judging
    others = np.setdiff1d(np.arange(50), first)
    # Of all images 96 % agree, of the others than the first fold 95 %: only there the float adds are tried.
    candidates = Fakes(compared, {"minmax": others[:2]})
    messages: list[str] = []
    choose_and_divide(candidates, compared, replace(GATE, min_agreement=0.955), log=messages.append)
    tried = [line for line in messages if line.startswith("int8, for a fold: ")]
    assert tried[0] == "int8, for a fold: minmax, float adds"
    assert len(tried) == len(set(tried)) == len(CALIBRATORS)
