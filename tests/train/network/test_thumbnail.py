"""Thumbnails: the mean grey of 8 x 8 cells, also where the number of pixels is not a multiple of 8."""

import numpy as np
import pytest

from ctonnx_train.network.thumbnail import CELLS, cell_weights, thumbnails


@pytest.mark.parametrize("size", [8, 12, 33, 64, 224])
def test_cells_cover_each_pixel_once(size: int) -> None:
    weights = cell_weights(size)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights.sum(axis=0), CELLS / size)


def test_cells_are_the_means_of_their_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), np.uint8)
    expected = pixels.reshape(2, 8, 2, 8, 3, 3).mean(axis=(2, 4, 5))
    np.testing.assert_allclose(thumbnails(pixels), expected.reshape(2, -1))
