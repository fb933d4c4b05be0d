"""Mistakes in a folder are more novel than scans: photographs, turned and inverted scans, text and others.

The network has random weights: what the distance sees must not depend on what a training has taught it.
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx_train.data.phantom.drawing import CLASSES, draw
from ctonnx_train.evaluation.fitting.novelty import fit_distance, fit_threshold
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.novelty import NoveltyDistance
from ctonnx_train.network.thumbnail import thumbnails

SIZE = 64
TRAINING, VALIDATION, TEST = range(120), range(120, 220), range(220, 280)
PHOTOGRAPHS = (
    *("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "coffee.png", "coins.png", "grass.png"),
    *("gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "rocket.jpg"),
)

Pixels = NDArray[np.uint8]


class Fitted(NamedTuple):
    """A distance and its threshold, and honest test images with their novelty."""

    novelty: Callable[[Pixels], NDArray[np.float32]]
    threshold: Novelty
    test: Pixels
    honest: NDArray[np.float32]


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    scans = np.stack([_scan(number) for number in range(TEST.stop)])
    labels = np.arange(len(scans)) % len(CLASSES)
    torch.manual_seed(0)
    network = CTClassifier(len(CLASSES)).eval()

    def features(pixels: Pixels) -> NDArray[np.float32]:
        with torch.inference_mode():
            batches = torch.split(torch.from_numpy(np.repeat(pixels[:, None], 3, axis=1)), 32)
            return torch.cat([network.features(batch).mean((2, 3)) for batch in batches]).numpy()

    training = scans[TRAINING]
    arrays = fit_distance(features(training), thumbnails(training[..., None]), labels[TRAINING])
    assert arrays is not None
    distance = NoveltyDistance(arrays)

    def novelty(pixels: Pixels) -> NDArray[np.float32]:
        found: NDArray[np.float32] = distance(
            torch.from_numpy(features(pixels)), torch.from_numpy(pixels[..., None])
        ).numpy()
        return found

    validation = novelty(scans[VALIDATION])
    threshold = fit_threshold(validation, training_images=len(training), components=64)
    return Fitted(novelty, threshold, scans[TEST], novelty(scans[TEST]))


def _scan(number: int) -> Pixels:
    drawn = draw(CLASSES[number % len(CLASSES)], np.random.default_rng(number), size=SIZE)
    return np.asarray(drawn.convert("L"))


def _read(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def _photographs(scans: Pixels) -> Pixels:
    found = find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        pytest.skip("scikit-image is not installed")
    folder = Path(found.submodule_search_locations[0]) / "data"
    files = [file for name in PHOTOGRAPHS if (file := folder / name).is_file()]
    if len(files) < 5:
        pytest.skip("this scikit-image has no photographs in its package")
    return np.stack([_read(Image.open(file)) for file in files])


def _window(scans: Pixels, low: float, high: float) -> Pixels:
    """Returns scans in another window: its ends are given in grey levels of the scans' own."""
    shown = (scans.astype(np.float64) - low) / (high - low) * 255
    return shown.clip(0, 255).astype(np.uint8)


def _noise(scans: Pixels) -> Pixels:
    rng = np.random.default_rng(0)
    uniform, normal = rng.integers(0, 256, (10, SIZE, SIZE)), rng.normal(100, 40, (10, SIZE, SIZE))
    return np.concatenate([uniform, normal.clip(0, 255)]).astype(np.uint8)


def _blank(scans: Pixels) -> Pixels:
    return np.stack([np.full((SIZE, SIZE), grey, np.uint8) for grey in (0, 20, 60, 100, 128, 200, 255)])


def _projections(scans: Pixels) -> Pixels:
    """Returns sums over stacks of slices, which shift along the axis: wide and dark in the middle, like radiographs."""
    made = []
    for number in range(0, len(scans), 4):
        columns = scans[number].astype(np.float64).mean(axis=0)
        rows = np.stack([np.roll(columns, shift) * (1 - abs(shift) / 90) for shift in range(-SIZE // 2, SIZE // 2)])
        made.append(255 * (rows - rows.min()) / np.ptp(rows))
    return np.stack(made).astype(np.uint8)


@cache
def _screenshot(number: int) -> Image.Image:
    paper, ink = ((255, 0), (20, 230))[number % 2]
    image = Image.new("L", (256, 256), paper)
    pen, rng = ImageDraw.Draw(image), np.random.default_rng(number)
    for row in range(4, 250, 14):
        pen.text((4, row), "".join(rng.choice(list("report of a patient, 0123")) for _ in range(40)), fill=ink)
    return image


MISTAKES: dict[str, Callable[[Pixels], Pixels]] = {
    "photographs": _photographs,
    "inverted": lambda scans: 255 - scans[::2],
    "turned by 90 degrees": lambda scans: np.rot90(scans[::2], axes=(1, 2)).copy(),
    "turned by 180 degrees": lambda scans: np.rot90(scans[::2], 2, axes=(1, 2)).copy(),
    "window of soft tissue": lambda scans: _window(scans[::2], 100, 230),
    "wide window": lambda scans: _window(scans[::2], -200, 500),
    "noise": _noise,
    "blank": _blank,
    "projections": _projections,
    "screenshots of text": lambda scans: np.stack([_read(_screenshot(number)) for number in range(12)]),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_are_more_novel_than_scans(fitted: Fitted, kind: str) -> None:
    wrong = fitted.novelty(MISTAKES[kind](fitted.test))
    auroc = (fitted.honest[:, None] < wrong[None]).mean()
    assert auroc >= 0.99
    assert fitted.threshold.flags(wrong).mean() >= 0.95


def test_few_honest_scans_are_flagged(fitted: Fitted) -> None:
    assert fitted.threshold.flags(fitted.honest).mean() <= 0.08
