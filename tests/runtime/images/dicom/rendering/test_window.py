"""Window functions are those of the standard, at the window's ends and beyond them."""

import numpy as np
import pytest

from ctonnx.images.dicom.rendering.window import windowed


def test_window_is_the_linear_function_of_the_standard() -> None:
    values = np.array([-1351.0, -1350, -1349, -600.5, 149, 150, 3000])
    assert windowed(values, -600, 1500).tolist() == [0, 0, 0, 128, 255, 255, 255]
    assert windowed(np.array([9.0, 10, 11]), 10, 1).tolist() == [0, 255, 255]


@pytest.mark.parametrize(
    ("function", "expected"),
    [("LINEAR_EXACT", [0, 64, 128, 255]), ("SIGMOID", [30, 69, 128, 225]), ("LINEAR", [0, 64, 129, 255])],
)
def test_each_function_is_that_of_the_standard(function: str, expected: list[int]) -> None:
    assert windowed(np.array([0.0, 25, 50, 100]), 50, 100, function).tolist() == expected


def test_nan_is_black_and_infinite_values_are_at_the_ends() -> None:
    assert windowed(np.array([np.nan, -np.inf, np.inf]), 50, 100).tolist() == [0, 0, 255]
