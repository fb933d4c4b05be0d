"""Scanners: kernels, correlated noise, windows and the label."""

import numpy as np
import pytest
from PIL import Image

from ctonnx_train.data.phantom.canvas import Canvas, ellipse
from ctonnx_train.data.phantom.scanner import SCANNERS, Scanner, blurred, stamp, textured, windowed


@pytest.mark.parametrize("scanner", SCANNERS, ids=lambda scanner: scanner.model)
def test_kernel_for_soft_tissue_is_smoother_than_the_one_for_lungs(scanner: Scanner) -> None:
    assert scanner.soft.blur > scanner.lung.blur
    assert scanner.soft.noise < scanner.lung.noise
    assert scanner.soft.grain > scanner.lung.grain


def test_names_of_scanners_and_kernels_differ() -> None:
    for names in (
        [scanner.model for scanner in SCANNERS],
        [scanner.manufacturer for scanner in SCANNERS],
        [kernel.name for scanner in SCANNERS for kernel in (scanner.lung, scanner.soft)],
    ):
        assert len(set(names)) == len(names)


def test_blur_keeps_hounsfield_units_and_softens_edges() -> None:
    canvas = Canvas(512, np.array([[1.0, 0, 256], [0, 1, 256]]), -1000)
    canvas.fill(ellipse((0, 0), (128, 128)), 40)
    sharp, soft = (blurred(canvas, 256, blur) for blur in (0.4, 6))
    assert (sharp.shape, str(sharp.dtype)) == ((256, 256), "float32")
    assert (sharp[128, 128], sharp[2, 2]) == (40, -1000)
    assert np.abs(np.diff(soft[128])).max() < 0.5 * np.abs(np.diff(sharp[128])).max()


def test_grain_correlates_the_noise_of_neighbours() -> None:
    white = np.random.default_rng(0).standard_normal((257, 257)).astype(np.float32)
    found = []
    for grain in (0, 0.4, 0.9):
        noise = textured(white, grain)
        found.append(float(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]))
    assert found[0] == pytest.approx(0, abs=0.02)
    assert found[0] + 0.2 < found[1] < found[2]


def test_window_runs_from_black_to_white() -> None:
    image = windowed(np.array([[-2000, -1250, -500, 250, 3000]], np.float32), -500, 1500)
    assert (image.mode, np.asarray(image).tolist()) == ("L", [[0, 0, 127, 255, 255]])


def test_label_is_in_the_lower_left_corner_only() -> None:
    image = Image.new("L", (128, 128))
    stamp(image, 130)
    rows, columns = np.nonzero(np.asarray(image))
    assert rows.min() > 115
    assert columns.max() < 80
    assert 100 < np.asarray(image).max() <= 130
