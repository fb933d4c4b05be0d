"""The distance is a Mahalanobis distance, and the threshold flags as few images as promised."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

from ctonnx.artifacts.caveats import novelty_caveats
from ctonnx_train.evaluation.fitting.novelty import COMPONENTS, fit_distance, fit_threshold

RNG = np.random.default_rng(0)
LABELS = np.arange(200) % 3
FEATURES = RNG.normal(size=(200, 80)) @ RNG.normal(size=(80, 80)) + 3 * LABELS[:, None]
CELLS = RNG.uniform(0, 255, (200, 64))


def distance(
    arrays: dict[str, NDArray[np.float32]], features: NDArray[np.float64], cells: NDArray[np.float64]
) -> NDArray[np.float64]:
    total = np.zeros((len(features), len(arrays["features.means"])))
    for part, values in (("features", features), ("thumbnail", cells)):
        whitened = (values - arrays[f"{part}.shift"]) @ arrays[f"{part}.weight"]
        total += ((whitened[:, None] - arrays[f"{part}.means"]) ** 2).sum(axis=2)
    nearest: NDArray[np.float64] = (total / arrays["typical"]).min(axis=1)
    return nearest


def fitted(
    features: NDArray[np.float64] = FEATURES,
    cells: NDArray[np.float64] = CELLS,
    labels: NDArray[np.int64] = LABELS,
) -> dict[str, NDArray[np.float32]]:
    arrays = fit_distance(features, cells, labels)
    assert arrays is not None
    return arrays


def test_thumbnails_are_measured_by_the_shrunk_covariance_within_their_classes() -> None:
    arrays = fitted()
    scale = np.sqrt(CELLS.var(axis=0).mean())
    means = np.stack([CELLS[label == LABELS].mean(axis=0) for label in range(3)])
    covariance = LedoitWolf(assume_centered=True).fit((CELLS - means[LABELS]) / scale).covariance_ + 0.1 * np.eye(64)
    given = RNG.uniform(0, 255, (5, 64))
    steps = (given[:, None] - means) / scale
    expected = np.einsum("ncv,vw,ncw->nc", steps, np.linalg.inv(covariance), steps)
    whitened = (given - arrays["thumbnail.shift"]) @ arrays["thumbnail.weight"]
    found = ((whitened[:, None] - arrays["thumbnail.means"]) ** 2).sum(axis=2)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_features_are_reduced_to_64_components_or_fewer_than_there_are_images_within_the_classes() -> None:
    assert fitted()["features.weight"].shape == (80, COMPONENTS)
    assert fitted(FEATURES[:20], CELLS[:20], LABELS[:20])["features.weight"].shape == (80, 17)
    assert {array.dtype for array in fitted().values()} == {np.dtype(np.float32)}


def test_images_like_the_training_images_are_nearer_than_others() -> None:
    arrays = fitted()
    usual = distance(arrays, FEATURES, CELLS)
    assert distance(arrays, FEATURES[:20] + 200 * RNG.normal(size=80), CELLS[:20]).min() > np.quantile(usual, 0.99)
    assert distance(arrays, FEATURES[:20], 10 * CELLS[:20]).min() > np.quantile(usual, 0.99)


def test_a_class_that_varies_more_is_not_novel_for_that() -> None:
    wide = LABELS == 2
    features = np.where(wide[:, None], 3 * FEATURES, FEATURES)
    cells = np.where(wide[:, None], CELLS - 2 * (CELLS - 128), CELLS - 0.5 * (CELLS - 128))
    half = np.arange(200) % 2 == 0
    arrays = fitted(features[half], cells[half], LABELS[half])
    assert arrays["typical"][2] > 2 * arrays["typical"][:2].max()
    usual = [np.median(distance(arrays, features[~half & chosen], cells[~half & chosen])) for chosen in (wide, ~wide)]
    assert max(usual) < 2.5 * min(usual)


def test_a_class_of_one_image_has_half_the_distance_of_all() -> None:
    labels = np.where(np.arange(200) == 7, 3, LABELS)
    arrays = fitted(labels=labels)
    assert arrays["typical"][3] > 0.4 * arrays["typical"][:3].min()


def test_scale_of_a_feature_does_not_matter() -> None:
    scales = RNG.uniform(0.01, 100, 80)
    one, other = fitted(), fitted(FEATURES * scales)
    np.testing.assert_allclose(distance(one, FEATURES, CELLS), distance(other, FEATURES * scales, CELLS), rtol=0.2)


@pytest.mark.parametrize("images", [1, 3])
def test_too_few_images_have_no_distance(images: int) -> None:
    assert fit_distance(FEATURES[:images], CELLS[:images], LABELS[:images]) is None


def test_images_that_are_all_alike_have_no_distance() -> None:
    assert fit_distance(np.ones((20, 80)), CELLS[:20], LABELS[:20]) is None
    assert fit_distance(FEATURES[:20], np.ones((20, 64)), LABELS[:20]) is None


def test_threshold_is_between_the_conformal_quantile_and_the_next_value() -> None:
    found = fit_threshold(np.arange(1.0, 101.0), training_images=7, components=3)
    assert (found.threshold, found.quantile, found.images) == (96.5, 0.95, 100)  # rank 96 of 101 * 0.95 = 95.95
    assert (found.training_images, found.components, found.leaked_images_used) == (7, 3, False)
    assert (found.quantiles[0], found.quantiles[50], found.quantiles[100]) == (1.0, 50.5, 100.0)
    assert not found.flags(np.array([96.5], np.float32)).any()


def test_with_too_few_images_for_the_quantile_the_threshold_is_above_all_of_them() -> None:
    assert fit_threshold(np.arange(1.0, 19.0), training_images=1, components=1).threshold == pytest.approx(18 * 1.05)
    assert fit_threshold(np.arange(1.0, 20.0), training_images=1, components=1).threshold == pytest.approx(19 * 1.05)
    assert fit_threshold(np.arange(1.0, 22.0), quantile=0.9, training_images=1, components=1).threshold == 20.5


def test_leaked_images_are_left_out_unless_too_few_would_remain() -> None:
    values = np.arange(1.0, 41.0)
    leaked = values <= 20
    found = fit_threshold(values, leaked, training_images=1, components=1)
    assert (found.images, found.leaked_images_used, found.quantiles[0]) == (20, False, 21.0)
    found = fit_threshold(values, values <= 22, training_images=1, components=1)
    assert (found.images, found.leaked_images_used, found.quantiles[0]) == (40, True, 1.0)
    assert not fit_threshold(values[:5], np.zeros(5, bool), training_images=1, components=1).leaked_images_used


def test_promised_share_of_further_images_is_not_flagged() -> None:
    rng = np.random.default_rng(1)
    flagged = []
    for _ in range(400):
        found = fit_threshold(rng.chisquare(9, 60), training_images=1, components=1)
        flagged.append(found.flags(rng.chisquare(9, 500)).mean())
    assert 0.03 < np.mean(flagged) <= 0.05


def test_patients_count_once_in_the_threshold_and_many_images_of_few_promise_nothing() -> None:
    values = np.random.default_rng(0).random(40)
    settings: dict[str, Any] = {"quantile": 0.9, "training_images": 1, "components": 1}
    alone = fit_threshold(values, **settings)
    repeated = fit_threshold(np.repeat(values, 3), groups=np.repeat(range(40), 3), **settings)
    numbered = fit_threshold(values, groups=range(40), **settings)
    assert alone.threshold == numbered.threshold
    order = np.sort(values)
    assert order[36] <= repeated.threshold <= order[37]
    assert (repeated.images, repeated.patients, alone.patients) == (120, 40, None)
    few = fit_threshold(values, groups=np.arange(40) // 10, **settings)
    assert few.threshold > values.max()
    assert (few.independent, novelty_caveats(few)) == (
        4,
        [
            "the novelty threshold was fitted on 40 validation images of 4 patients, too few to promise that the share "
            "0.9 of further ones like them is not flagged (9 or more patients can promise it): it may flag more"
        ],
    )
