"""The canvas: units, layers and curves."""

import numpy as np

from ctonnx_train.data.phantom.canvas import HU_STEP, NOTHING, Canvas, ellipse, smooth, wobble

_AXES = np.array([[1.0, 0, 256], [0, 1, 256]]) / 4  # 128 pixels


def hounsfield(canvas: Canvas) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.asarray(canvas.image, np.int64) * HU_STEP + NOTHING


def test_contour_is_filled_with_hounsfield_units_in_the_patients_axes() -> None:
    canvas = Canvas(128, _AXES, NOTHING)
    canvas.fill(ellipse((100, 0), (40, 20)), 40)
    values = hounsfield(canvas)
    rows, columns = np.nonzero(values == 40)
    assert set(np.unique(values)) == {NOTHING, 40}
    found = np.array([columns.min(), columns.max(), rows.min(), rows.max()])
    assert np.abs(found - [79, 99, 59, 69]).max() <= 1


def test_shell_has_a_rim_and_layers_are_copied_inside_contours_only() -> None:
    canvas, layer = Canvas(128, _AXES, -1000), Canvas(128, _AXES, 200)
    canvas.shell((0, 0), (80, 80), 20, 560, 48)
    assert [hounsfield(canvas)[64, column] for column in (64, 86, 120)] == [48, 560, -1000]
    canvas.paste(layer, [ellipse((0, 0), (20, 20))])
    assert [hounsfield(canvas)[64, column] for column in (64, 74)] == [200, 48]


def test_line_is_as_wide_as_the_axes_scale_it() -> None:
    canvas = Canvas(128, _AXES, -1000)
    canvas.stroke(np.array([[-200.0, 0], [200, 0]]), 0, 24)
    assert (hounsfield(canvas)[:, 64] == 0).sum() == 6


def test_posed_axes_are_near_the_straight_ones() -> None:
    for seed in range(20):
        axes = Canvas.posed(np.random.default_rng(seed), 512).axes
        assert np.abs(axes - [[1, 0, 256], [0, 1, 256]])[:, :2].max() < 0.25
        assert np.abs(axes[:, 2] - 256).max() <= 9


def test_curve_runs_through_its_knots_and_a_wobble_keeps_the_mean_radius() -> None:
    knots = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    np.testing.assert_allclose(smooth(knots, steps=8)[::8], knots)
    waves = wobble(np.random.default_rng(0), 0.05)
    radii = np.hypot(*ellipse((0, 0), (10, 10), wobble=waves).T)
    assert np.ptp(radii) > 0.2
    assert abs(radii.mean() - 10) < 0.5
