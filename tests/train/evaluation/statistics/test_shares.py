"""Shares of scans with intervals."""

import numpy as np
import pytest

from ctonnx_train.evaluation.statistics.shares import exact_share_of, share_of, share_text


def test_interval_is_wilsons() -> None:
    """Newcombe 1998, https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, table I."""
    share = share_of(np.arange(263) < 81)
    assert share["value"] == pytest.approx(0.308, abs=1e-3)
    assert share["interval"] == pytest.approx([0.2553, 0.3662], abs=1e-4)
    assert share["images"] == 263
    assert share_text(share) == "0.307 [0.255, 0.367]"
    assert share_text(share, up=True) == "0.308 [0.255, 0.367]"
    nothing = share_of(np.empty(0, bool))
    assert (nothing, share_text(nothing)) == ({"value": None, "interval": None, "images": 0}, "-")


def test_exact_interval_is_that_of_clopper_and_pearson() -> None:
    """Newcombe 1998, table I, method 5."""
    share = exact_share_of(np.arange(263) < 81)
    assert share["interval"] == pytest.approx([0.2527, 0.3676], abs=1e-4)
    assert exact_share_of(np.zeros(561, bool))["interval"] == pytest.approx([0.0, 0.00655], abs=1e-5)
    assert exact_share_of(np.empty(0, bool))["interval"] is None
    flags = np.repeat(np.arange(20) < 15, 10)
    grouped = exact_share_of(flags, np.repeat(np.arange(20), 10))
    assert (grouped["interval"], grouped["effective_images"]) == (exact_share_of(np.arange(20) < 15)["interval"], 20.0)


def test_groups_whose_images_are_alike_count_once() -> None:
    flags = np.repeat(np.arange(20) < 15, 10)
    grouped = share_of(flags, np.repeat(np.arange(20), 10))
    once = share_of(np.arange(20) < 15)
    assert (grouped["interval"], grouped["effective_images"]) == (once["interval"], 20.0)
    assert share_of(flags, np.arange(200))["interval"] == share_of(flags)["interval"]
    uneven = share_of(flags, [0] * 100 + list(range(1, 101)))
    assert uneven["effective_images"] == round(200**2 / (100**2 + 100), 3)
