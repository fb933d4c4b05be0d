"""The interval of a share: Wilson's, with exact ends."""

import pytest
from scipy.stats import binomtest

from ctonnx.parity.intervals import share_interval


def test_interval_is_wilsons_for_any_share_and_number() -> None:
    for found, images in ((81, 263), (2, 3), (1, 2000)):
        expected = binomtest(found, images).proportion_ci(0.95, method="wilson")
        assert share_interval(found / images, images) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_interval_of_none_and_of_all_has_an_exact_end() -> None:
    assert all(share_interval(1.0, images)[1] == 1.0 for images in range(1, 300))
    assert all(share_interval(0.0, images)[0] == 0.0 for images in range(1, 300))
