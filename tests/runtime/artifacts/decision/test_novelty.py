from dataclasses import replace

import numpy as np
import pytest

from ctonnx.artifacts.decision.novelty import PERCENTILES, Novelty

NOVELTY = Novelty(
    threshold=95.0,
    quantile=0.95,
    quantiles=tuple(float(value) for value in range(PERCENTILES)),
    images=60,
    training_images=600,
    components=64,
)


def test_an_image_beyond_the_threshold_is_flagged_and_one_at_it_is_not() -> None:
    novelty = np.array([94.0, 95.0, 95.01, np.nan, np.inf], np.float32)
    assert NOVELTY.flags(novelty).tolist() == [False, False, True, True, True]


def test_the_percentile_is_that_of_the_validation_images() -> None:
    assert NOVELTY.percentiles(np.array([-1.0, 0.0, 42.5, 100.0, 1e9], np.float32)).tolist() == [0, 0, 42.5, 100, 100]


def test_the_thresholds_own_percentile_is_not_the_quantile_that_it_was_fitted_for() -> None:
    assert NOVELTY.percentile == 95.0
    assert replace(NOVELTY, threshold=97.5).percentile == 97.5
    assert replace(NOVELTY, threshold=105.0).percentile == 100.0  # of too few images: above the highest


@pytest.mark.parametrize("quantiles", [(1.0, 2.0), tuple(float(-value) for value in range(PERCENTILES))])
def test_quantiles_that_are_too_few_or_descend_are_rejected(quantiles: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascending quantiles"):
        replace(NOVELTY, quantiles=quantiles)
