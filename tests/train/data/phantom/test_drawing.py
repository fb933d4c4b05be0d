"""Drawn phantoms: anatomy, and lesions that distinguish the classes."""

import re

import numpy as np
import numpy.typing as npt
import pytest

from ctonnx.errors import DataError
from ctonnx_train.data.phantom.drawing import CLASSES, draw


def lesion_difference(kind: str, seed: int, size: int = 128) -> npt.NDArray[np.int16]:
    lesion, normal = (
        np.asarray(draw(name, np.random.default_rng(seed), size), dtype=np.int16) for name in (kind, "normal")
    )
    return lesion - normal


def extent(mask: npt.NDArray[np.bool_]) -> int:
    """Returns the longer side, in pixels, of the bounding box of the mask."""
    return max(int(np.ptp(along)) + 1 for along in np.nonzero(mask))


def test_an_unknown_kind_is_rejected() -> None:
    message = 'expected one of normal, small.peripheral, large.central, cavitating, found "benign"; choose one of them'
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        draw("benign", np.random.default_rng(0))


def test_a_slice_has_dark_lungs_on_both_sides_of_a_bright_mediastinum_and_spine() -> None:
    slices = [np.asarray(draw("normal", np.random.default_rng(seed), 128)) for seed in range(8)]
    mean = np.mean(slices, axis=0)
    right_lung, left_lung, heart, spine = mean[56:72, 30:45], mean[56:72, 86:98], mean[48:60, 62:76], mean[82:88, 61:67]
    assert max(right_lung.mean(), left_lung.mean()) < 130
    assert min(heart.mean(), spine.mean()) > 190
    assert mean[:4, :4].max() < 10


@pytest.mark.parametrize("seed", range(4))
def test_lesions_differ_in_size_from_class_to_class(seed: int) -> None:
    small, cavity, large = (
        extent(lesion_difference(kind, seed) > 40) for kind in ("small.peripheral", "cavitating", "large.central")
    )
    assert small <= 18 < cavity <= 34
    assert large > 20


@pytest.mark.parametrize("seed", range(4))
def test_only_a_cavity_is_darker_inside_than_the_lung_that_it_replaces(seed: int) -> None:
    darker = {kind: lesion_difference(kind, seed) < -12 for kind in CLASSES[1:]}
    ring = lesion_difference("cavitating", seed) > 40
    assert darker["small.peripheral"].sum() + darker["large.central"].sum() < 10
    assert darker["cavitating"].sum() > 60
    for hole, wall in zip(np.nonzero(darker["cavitating"]), np.nonzero(ring), strict=True):
        assert wall.min() < hole.mean() < wall.max()


def test_the_label_is_at_the_same_place_in_every_class() -> None:
    corners = {kind: np.asarray(draw(kind, np.random.default_rng(1), 256))[240:, :90] for kind in CLASSES}
    assert corners["normal"].max() > 100
    for kind in CLASSES:
        np.testing.assert_array_equal(corners[kind], corners["normal"])


@pytest.mark.parametrize(
    ("kind", "seed", "means"),
    [
        ("normal", 0, [[29, 96, 94, 24], [129, 136, 160, 123], [128, 153, 152, 115], [33, 91, 86, 26]]),
        ("large.central", 1, [[11, 58, 65, 12], [91, 148, 186, 100], [88, 157, 180, 91], [18, 57, 57, 18]]),
    ],
)
def test_a_seed_draws_the_same_slice_in_every_version(kind: str, seed: int, means: list[list[int]]) -> None:
    """Within a grey level, as the last bit of a sine depends on the processor."""
    image = np.asarray(draw(kind, np.random.default_rng(seed), 64), float)
    assert np.abs(image.reshape(4, 16, 4, 16).mean(axis=(1, 3)) - means).max() < 1
