"""Mistakes in a folder are more novel than scans: photographs, turned and inverted scans, text and others.

All images become pixels as for a new model, so that their grey values are normalized. That repairs a dimmed scan or one
in a wider window: the network sees nearly the same pixels, and there is no mistake left to flag.

The network is a small one of random weights: what the distance sees must not depend on what a training has taught it.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torchvision.models.resnet import BasicBlock, ResNet

from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.images import load, to_pixels
from ctonnx.images.preprocessing import NEW_MODELS
from ctonnx_train.data.phantom.drawing import CLASSES, draw
from ctonnx_train.evaluation.fitting.novelty import fit_distance, fit_threshold
from ctonnx_train.network.classifier import CTClassifier
from ctonnx_train.network.novelty import NoveltyDistance
from ctonnx_train.network.thumbnail import thumbnails

SIZE = 64
PREPROCESSING = replace(NEW_MODELS, size=SIZE)
SCANS, TRAINING, VALIDATION = 160, slice(80), slice(80, 120)
TEST = slice(120, None)
PARTITIONS = 10
"""Number of random partitions into training, validation and test images: a single one of 40 images decides nothing."""
PHOTOGRAPHS = (
    *("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "coffee.png", "coins.png", "grass.png"),
    *("gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "rocket.jpg"),
)

Pixels = NDArray[np.uint8]


class Fitted(NamedTuple):
    """A distance and its threshold, fitted on one partition, the rows of its test images and their novelty."""

    distance: NoveltyDistance
    threshold: Novelty
    test: NDArray[np.intp]
    honest: NDArray[np.float32]


@pytest.fixture(scope="module")
def scans() -> Pixels:
    """Phantoms as in their files, before the preprocessing: uint8 [scans, size, size]."""
    drawn = (draw(CLASSES[row % len(CLASSES)], np.random.default_rng(row), size=SIZE) for row in range(SCANS))
    return np.stack([np.asarray(scan.convert("L")) for scan in drawn])


@pytest.fixture(scope="module")
def network() -> CTClassifier:
    def resnet(weights: None, **settings: object) -> ResNet:
        return ResNet(BasicBlock, [1, 1, 1, 1], **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctonnx_train.network.classifier.resnet50", resnet)
        torch.manual_seed(0)
        return CTClassifier(len(CLASSES)).eval()


@pytest.fixture(scope="module")
def partitions(scans: Pixels, network: CTClassifier) -> list[Fitted]:
    pixels, labels = _pixels(scans), np.arange(SCANS) % len(CLASSES)
    features, cells = _features(network, pixels), thumbnails(pixels)

    def fit(rows: NDArray[np.intp]) -> Fitted:
        training, validation, test = (rows[part] for part in (TRAINING, VALIDATION, TEST))
        arrays = fit_distance(features[training], cells[training], labels[training])
        assert arrays is not None
        distance = NoveltyDistance(arrays, SIZE)
        of_validation, honest = (_novelty(distance, features[of], pixels[of]) for of in (validation, test))
        threshold = fit_threshold(of_validation, training_images=len(training), components=64)
        return Fitted(distance, threshold, test, honest)

    return [fit(np.random.default_rng(seed).permutation(SCANS)) for seed in range(PARTITIONS)]


def _pixels(images: "Pixels | list[Image.Image]") -> Pixels:
    """Returns images as the network of a new model sees them."""
    opened = (image if isinstance(image, Image.Image) else Image.fromarray(image) for image in images)
    return np.stack([to_pixels(image, PREPROCESSING) for image in opened])


def _features(network: CTClassifier, pixels: Pixels) -> NDArray[np.float32]:
    with torch.inference_mode():
        batches = torch.split(torch.from_numpy(pixels).permute(0, 3, 1, 2), 40)
        found: NDArray[np.float32] = torch.cat([network.features(batch).mean((2, 3)) for batch in batches]).numpy()
    return found


def _novelty(distance: NoveltyDistance, features: NDArray[np.float32], pixels: Pixels) -> NDArray[np.float32]:
    found: NDArray[np.float32] = distance(torch.from_numpy(features), torch.from_numpy(pixels)).numpy()
    return found


def _photographs(scans: Pixels) -> list[Image.Image]:
    found = find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        pytest.skip("scikit-image is not installed")
    folder = Path(found.submodule_search_locations[0]) / "data"
    files = [file for name in PHOTOGRAPHS if (file := folder / name).is_file()]
    if len(files) < 5:
        pytest.skip("this scikit-image has no photographs in its package")
    return [load(file).image for file in files]


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
    for number in range(0, len(scans), 8):
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


MISTAKES: dict[str, Callable[[Pixels], Pixels | list[Image.Image]]] = {
    "photographs": _photographs,
    "inverted": lambda scans: 255 - scans,
    "turned by 90 degrees": lambda scans: np.rot90(scans, axes=(1, 2)),
    "turned by 180 degrees": lambda scans: np.rot90(scans, 2, axes=(1, 2)),
    "window of soft tissue": lambda scans: _window(scans, 100, 230),
    "noise": _noise,
    "blank": _blank,
    "projections": _projections,
    "screenshots of text": lambda scans: [_screenshot(number) for number in range(12)],
}
REPAIRED: dict[str, Callable[[Pixels], Pixels]] = {
    "wide window": lambda scans: _window(scans, -200, 500),
    "shifted window": lambda scans: _window(scans, -40, 300),
    "dimmed": lambda scans: (scans * 0.6).astype(np.uint8),
}


def _changed(
    partitions: list[Fitted], network: CTClassifier, pixels: Pixels
) -> Iterator[tuple[Fitted, NDArray[np.float32]]]:
    """Yields each partition with its novelty of the images."""
    features = _features(network, pixels)
    for fitted in partitions:
        yield fitted, _novelty(fitted.distance, features, pixels)


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_are_more_novel_than_scans(
    partitions: list[Fitted], scans: Pixels, network: CTClassifier, kind: str
) -> None:
    found = list(_changed(partitions, network, _pixels(MISTAKES[kind](scans[::7]))))
    assert np.mean([(fitted.honest[:, None] < wrong[None]).mean() for fitted, wrong in found]) >= 0.99
    assert np.mean([fitted.threshold.flags(wrong).mean() for fitted, wrong in found]) >= 0.95


@pytest.mark.parametrize("kind", REPAIRED)
def test_normalization_repairs_what_it_need_not_flag(
    partitions: list[Fitted], scans: Pixels, network: CTClassifier, kind: str
) -> None:
    own, changed = _pixels(scans), _pixels(REPAIRED[kind](scans))
    assert np.abs(own.astype(int) - changed).mean() <= 2  # grey levels
    found = _changed(partitions, network, changed)
    assert np.mean([fitted.threshold.flags(novelty[fitted.test]).mean() for fitted, novelty in found]) <= 0.08


def test_few_honest_scans_are_flagged(partitions: list[Fitted]) -> None:
    assert np.mean([fitted.threshold.flags(fitted.honest).mean() for fitted in partitions]) <= 0.08
