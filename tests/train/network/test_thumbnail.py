"""Thumbnails: the mean grey of 8 x 8 cells, also for sizes that 8 does not divide."""

import numpy as np
import pytest

from ctonnx_train.network.thumbnail import CELLS, cell_weights, thumbnails


@pytest.mark.parametrize("size", [8, 12, 33, 64, 224])
def test_cells_cover_each_pixel_once(size: int) -> None:
    weights = cell_weights(size)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights.sum(axis=0), CELLS / size)


@pytest.mark.parametrize(("height", "step"), [(40, 1), (64, 2), (224, 7)])
def test_cells_are_the_means_of_the_pixels_in_some_rows(height: int, step: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, height, 24, 3), np.uint8)
    rows = pixels[:, ::step]
    expected = rows.reshape(2, 8, len(rows[0]) // 8, 8, 3, 3).mean(axis=(2, 4, 5))
    np.testing.assert_allclose(thumbnails(pixels), expected.reshape(2, -1))
