"""Prediction sets: fitted as the conformal library does, with the coverage that the theory gives them."""

from typing import Any

import numpy as np
import pytest
from crepes import ConformalClassifier
from numpy.typing import NDArray
from scipy.special import expit, softmax
from scipy.stats import betabinom

from ctonnx.artifacts.caveats import prediction_set_caveats
from ctonnx.artifacts.decision.prediction_sets import PredictionSets, conformity
from ctonnx_train.evaluation.fitting.prediction_sets import conformal_rank, fit_prediction_sets

CLASSES = ("large cell", "normal", "squamous")


def drawn(rng: np.random.Generator, counts: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities of images that a network confuses sometimes, and their classes."""
    labels = np.repeat(np.arange(len(counts)), counts)
    logits = rng.normal(size=(len(labels), len(counts)))
    logits[np.arange(len(labels)), labels] += 1.5
    return softmax(logits, axis=1).astype(np.float32), labels


def fitted(probabilities: Any, labels: Any, coverage: float = 0.9, **more: Any) -> PredictionSets:
    sets = fit_prediction_sets(probabilities, np.asarray(labels), CLASSES[: probabilities.shape[1]], coverage, **more)
    assert sets is not None
    return sets


def inside(sets: PredictionSets, probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each class is in the set of each image, without the rule that the most probable one always is."""
    return conformity(probabilities, CLASSES, sets.positive) >= np.array(
        [sets.lowest[name] for name in CLASSES], np.float32
    )


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("positive", [(), ("large cell", "squamous")])
def test_the_sets_are_those_of_a_library_for_conformal_prediction(
    positive: tuple[str, ...], seed: int, coverage: float
) -> None:
    """Crepes with a Mondrian category for each class, which is what conditional on the class means."""
    rng = np.random.default_rng(seed)
    probabilities, labels = drawn(rng, (33, 52, 71))
    others, _ = drawn(rng, (40, 40, 40))
    found, of_others = (conformity(values, CLASSES, positive).astype(np.float64) for values in (probabilities, others))
    own = 1 - found[np.arange(len(labels)), labels]
    expected = np.stack(
        [
            ConformalClassifier()
            .fit(own[labels == index])
            .predict_set(1 - of_others[:, [index]], confidence=coverage, smoothing=False)[:, 0]
            for index in range(3)
        ],
        axis=1,
    )
    sets = fitted(probabilities, labels, coverage, positive=positive)
    np.testing.assert_array_equal(inside(sets, others), expected == 1)
    assert 0 < expected.mean() < 1


def test_the_coverage_of_200_resamples_lies_in_the_band_of_the_theory() -> None:
    """With n images and k = ceil((n + 1) * coverage), the coverage has the distribution Beta(k, n + 1 - k).

    So the covered ones of m new images are beta-binomial; see Angelopoulos and Bates 2021, section 3.2.
    """
    rng = np.random.default_rng(20)
    n, m, coverage, resamples = 38, 60, 0.9, 200
    rank = 36  # ceil(39 * 0.9)
    covered, with_the_top = np.zeros((resamples, 3), int), np.zeros((resamples, 3), int)
    for resample in range(resamples):
        sets = fitted(*drawn(rng, (n, n, n)), coverage)
        probabilities, labels = drawn(rng, (m, m, m))
        bare, whole = inside(sets, probabilities), sets.sets(probabilities, CLASSES)
        assert (whole >= bare).all()  # the most probable class can only be added
        for index in range(3):
            covered[resample, index] = bare[labels == index, index].sum()
            with_the_top[resample, index] = whole[labels == index, index].sum()
    theory = betabinom(m, rank, n + 1 - rank)
    assert theory.mean() / m == pytest.approx(rank / (n + 1))
    error = theory.std() / np.sqrt(resamples)
    np.testing.assert_allclose(covered.mean(axis=0), theory.mean(), atol=4 * error)
    for share in (0.05, 0.5, 0.95):  # and the spread of single resamples is that of the theory, too
        bound = theory.ppf(share)
        np.testing.assert_allclose((covered <= bound).mean(axis=0), theory.cdf(bound), atol=0.12)
    assert (covered.mean(axis=0) / m >= coverage).all()
    assert (with_the_top.mean(axis=0) >= covered.mean(axis=0)).all()


def test_a_class_with_too_few_images_shares_the_value_of_all_and_has_a_caveat() -> None:
    probabilities, labels = drawn(np.random.default_rng(0), (19, 13, 20))
    probabilities[labels == 1] = np.eye(3)[1] * 0.97 + 0.01
    odd = int(np.flatnonzero(labels == 1)[0])
    probabilities[odd] = [0.999, 1e-6, 0.000999]  # would leave the class in every set
    sets = fitted(probabilities, labels, 0.95)
    assert sets.images == {"large cell": 19, "normal": 13, "squamous": 20}
    assert sets.short_of_images == ("normal",)
    for index, name in ((0, "large cell"), (2, "squamous")):  # of 20 or fewer images none may be missed
        assert sets.lowest[name] == np.float32(probabilities[labels == index, index].min())
    own = np.sort(probabilities[np.arange(52), labels].astype(np.float32))
    assert sets.lowest["normal"] == own[1]  # of 52 images the one below, rank ceil(53 * 0.95) = 51 of them from above
    assert [sets.covered(name) for name in CLASSES] == [0.95, None, 0.95]
    assert prediction_set_caveats(sets) == [
        "too few validation images for prediction sets with a coverage of 0.95 (19 or more of a class can promise it): "
        "'normal' has 13; how often the set has its class is not promised"
    ]
    assert prediction_set_caveats(fitted(*drawn(np.random.default_rng(0), (19, 19, 20)), 0.95)) == []
    assert prediction_set_caveats(None) == []


def test_few_images_altogether_are_all_covered() -> None:
    probabilities, labels = drawn(np.random.default_rng(0), (3, 4, 5))
    sets = fitted(probabilities, labels, 0.95)
    assert set(sets.lowest.values()) == {float(probabilities[np.arange(12), labels].astype(np.float32).min())}
    assert sets.short_of_images == CLASSES


def test_a_class_without_images_leaves_no_sets() -> None:
    probabilities, labels = drawn(np.random.default_rng(0), (5, 0, 5))
    assert fit_prediction_sets(probabilities, labels, CLASSES, 0.9) is None


def test_leaked_images_are_left_out_unless_a_class_has_no_others() -> None:
    probabilities, labels = drawn(np.random.default_rng(3), (30, 30, 30))
    leaked = np.zeros(90, bool)
    leaked[[0, 40, 89]] = True
    sets = fitted(probabilities, labels, leaked=leaked)
    assert sets == fitted(probabilities[~leaked], labels[~leaked])
    assert not sets.leaked_images_used
    leaked[labels == 1] = True
    sets = fitted(probabilities, labels, leaked=leaked)
    assert sets.leaked_images_used
    assert (sets.lowest, sets.images) == (fitted(probabilities, labels).lowest, dict.fromkeys(CLASSES, 30))
    assert prediction_set_caveats(sets) == [
        "the prediction sets were also fitted on leaked images, as a class has no others: their coverage is optimistic"
    ]


def test_saturated_probabilities_are_compared_as_float32() -> None:
    """Softmax gives exactly 0 and 1 in float32 where float64 still has digits; 1 - p would be 1 for all near 0."""
    sure = np.tile([1 - 1e-12, 1e-12], (40, 1))
    sets = fitted(np.concatenate([sure, sure[:, ::-1]]), [0] * 40 + [1] * 40, 0.95)
    assert sets.lowest == {"large cell": 1.0, "normal": 1.0}
    deployed = np.array([[1, 1e-12], [0, 1], [0.5, 0.5], [np.nextafter(np.float32(1), 0), 1e-7]], np.float32)
    found = sets.sets(deployed, CLASSES[:2]).tolist()
    assert found == [[True, False], [False, True], [True, False], [True, False]]
    tiny = np.array([[1e-30, 1.0], [1e-25, 1.0], [1e-20, 1.0]])  # 1 - p is 1 for all three
    sets = fitted(np.concatenate([tiny, tiny[:, ::-1]]), [0] * 3 + [1] * 3, 0.5)
    assert sets.lowest["large cell"] == np.float32(1e-25)
    assert inside_first(sets, tiny.astype(np.float32)) == [False, True, True]


def inside_first(sets: PredictionSets, probabilities: NDArray[np.float32]) -> list[bool]:
    found: list[bool] = sets.sets(probabilities, CLASSES[:2])[:, 0].tolist()
    return found


@pytest.mark.parametrize(("images", "coverage", "missed"), [(19, 0.95, 0), (39, 0.95, 1), (9, 0.9, 0), (99, 0.9, 9)])
def test_the_rank_is_exact_where_it_is_a_whole_number(images: int, coverage: float, missed: int) -> None:
    values = np.linspace(0.5, 0.9, images)
    probabilities = np.stack([values, 1 - values], axis=1)
    labels = np.zeros(images, int)
    labels = np.append(labels, 1)
    sets = fitted(np.concatenate([probabilities, [[0.2, 0.8]]]), labels, coverage)
    assert (values.astype(np.float32) < np.float32(sets.lowest["large cell"])).sum() == missed
    assert sets.covered("large cell") == coverage


@pytest.mark.parametrize("coverage", [0.0, 1.0, 1.5])
def test_a_coverage_that_nothing_can_promise_is_an_error(coverage: float) -> None:
    with pytest.raises(ValueError, match=f"^expected a coverage between 0 and 1, found {coverage}$"):
        fit_prediction_sets(np.full((2, 2), 0.5), np.array([0, 1]), CLASSES[:2], coverage)


def test_each_patient_counts_once_and_as_many_are_needed_as_images() -> None:
    random = np.random.default_rng(0)
    scores = random.random(40)
    probabilities = np.stack([scores, 1 - scores], axis=1)
    labels = np.repeat([0, 1], 20)
    alone = fit_prediction_sets(probabilities, labels, ("a", "b"), 0.9)
    numbered = fit_prediction_sets(probabilities, labels, ("a", "b"), 0.9, groups=range(40))
    repeated = fit_prediction_sets(
        np.repeat(probabilities, 5, axis=0), np.repeat(labels, 5), ("a", "b"), 0.9, groups=np.repeat(range(40), 5)
    )
    assert alone is not None
    assert numbered is not None
    assert repeated is not None
    assert alone.lowest == numbered.lowest == repeated.lowest
    assert (repeated.images, repeated.patients) == ({"a": 100, "b": 100}, {"a": 20, "b": 20})
    few = fit_prediction_sets(probabilities, labels, ("a", "b"), 0.9, groups=np.arange(40) // 4)
    assert few is not None
    assert few.short_of_images == ("a", "b")  # 20 images each, but of 5 patients
    assert alone.short_of_images == ()


def test_images_of_new_patients_are_covered_as_promised_though_a_patients_images_are_alike() -> None:
    random = np.random.default_rng(1)
    sizes = random.integers(1, 30, 25)

    def conformities(sizes: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Conformities of a class's images: large patients have lower ones, and those of a patient are alike."""
        own = random.normal(-0.05 * sizes, 1.0)
        found: NDArray[np.float64] = expit(np.repeat(own, sizes) + 0.1 * random.normal(size=sizes.sum()))
        return found

    covered = []
    for _ in range(300):
        values = conformities(sizes)
        rank = conformal_rank(-values, np.repeat(np.arange(25), sizes), 0.9)
        assert rank is not None
        lowest = np.sort(values)[::-1][rank]
        new = random.choice(sizes, 40)  # of new patients, one image of each
        covered.append((conformities(new)[np.cumsum(new) - 1] >= lowest).mean())
    assert 0.9 - 0.01 <= np.mean(covered) <= 0.9 + 1 / 26 + 0.01
