"""Augmentation of a batch: each range, independent changes of the images, and the size."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ctonnx_train.training.loop.acquisition import Acquisition
from ctonnx_train.training.loop.augmentation import Augmentation

NOTHING: dict[str, Any] = {"degrees": 0.0, "zoom": 0.0, "shift": 0.0, "brightness": 0.0}


def noise(batch: int = 1, channels: int = 1, height: int = 40, width: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, channels, height, width), dtype=torch.uint8, generator=generator)


def dot(row: int, column: int, height: int = 81, width: int = 81) -> Tensor:
    """Returns a black image with a bright square of 5 x 5 pixels around a place."""
    image = torch.zeros(1, 1, height, width, dtype=torch.uint8)
    image[:, :, row - 2 : row + 3, column - 2 : column + 3] = 200
    return image


def places(images: Tensor) -> list[tuple[float, float]]:
    """Returns the centre of brightness of each image: down and right from the middle, in pixels."""
    found = []
    for image in images[:, 0].double().numpy():
        rows, columns = (np.arange(length) - (length - 1) / 2 for length in image.shape)
        found.append((float((image.sum(1) @ rows) / image.sum()), float((image.sum(0) @ columns) / image.sum())))
    return found


def many(image: Tensor, seed: int = 0, count: int = 200, **ranges: Any) -> Tensor:
    """Returns as many changed copies of an image."""
    torch.manual_seed(seed)
    return Augmentation(**{**NOTHING, **ranges})(image.repeat(count, 1, 1, 1))


@pytest.mark.parametrize(("height", "width"), [(40, 40), (32, 48)])
@pytest.mark.parametrize("channels", [1, 3])
def test_with_ranges_of_zero_an_image_is_itself_or_its_mirror_image(channels: int, height: int, width: int) -> None:
    image = noise(1, channels, height, width)
    changed = many(image, count=64)
    same, mirrored = ((changed - other.float()).abs().amax((1, 2, 3)) < 1e-2 for other in (image, image.flip(3)))
    assert torch.equal(same, ~mirrored)
    assert 16 < int(mirrored.sum()) < 48


@pytest.mark.parametrize("channels", [1, 3])
def test_the_result_is_float_from_0_to_255_and_the_images_are_left_alone(channels: int) -> None:
    images = noise(8, channels)
    before = images.clone()
    changed = Augmentation()(images)
    assert (changed.shape, changed.dtype) == (images.shape, torch.float32)
    assert changed.min() >= 0
    assert changed.max() <= 255
    changed.zero_()
    assert torch.equal(images, before)


def test_each_image_of_a_batch_is_changed_in_its_own_way() -> None:
    changed = Augmentation()(noise().repeat(16, 1, 1, 1))
    assert len({bytes(image.numpy()) for image in changed}) == 16


def test_all_channels_of_an_image_are_changed_alike() -> None:
    changed = Augmentation()(noise().repeat(4, 3, 1, 1))
    assert torch.equal(changed[:, 0], changed[:, 1])
    assert torch.equal(changed[:, 0], changed[:, 2])


def test_the_same_seed_repeats_the_changes_and_another_does_not() -> None:
    def made(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return Augmentation()(noise(4))

    assert torch.equal(made(1), made(1))
    assert not torch.equal(made(1), made(2))


@pytest.mark.parametrize("size", [32, 48, 64])
def test_the_result_can_have_another_size_and_shows_the_same(size: int) -> None:
    ramp = torch.arange(48, dtype=torch.uint8).mul(5).view(1, 1, 48, 1).expand(1, 1, 48, 48)
    changed = Augmentation(**NOTHING)(ramp, size)
    assert changed.shape == (1, 1, size, size)
    inner = changed[0, 0, 2:-2, size // 2]
    expected = (torch.arange(size) + 0.5) * 48 / size * 5 - 2.5
    torch.testing.assert_close(inner, expected[2:-2], atol=0.01, rtol=0)


def test_a_bright_image_turned_is_black_in_its_corners_alone() -> None:
    changed = many(torch.full((1, 1, 81, 81), 200, dtype=torch.uint8), degrees=15.0)
    assert changed[:, 0, 40, 40].tolist() == pytest.approx([200.0] * 200, abs=0.01)
    corners = changed[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.amax(1).min() == 0


def test_an_image_is_turned_to_either_side_by_15_degrees_at_most() -> None:
    down, right = zip(*places(many(dot(10, 40), degrees=15.0)), strict=True)
    angles = [math.degrees(math.atan2(across, -along)) for along, across in zip(down, right, strict=True)]
    assert -15.2 < min(angles) < -13
    assert 13 < max(angles) < 15.2


def test_turning_keeps_distances_where_an_image_is_not_square() -> None:
    changed = many(dot(40, 60, height=81, width=161), degrees=15.0)
    assert [math.hypot(*place) for place in places(changed)] == pytest.approx([20.0] * 200, abs=0.2)


def test_an_image_grows_and_shrinks_by_15_percent_at_most() -> None:
    scales = [math.hypot(*place) / 20 for place in places(many(dot(20, 40), zoom=0.15))]
    assert 0.84 < min(scales) < 0.87
    assert 1.13 < max(scales) < 1.16


def test_an_image_is_shifted_by_8_percent_of_its_height_and_width_at_most() -> None:
    down, right = zip(*places(many(dot(30, 50, height=61, width=101), shift=0.08)), strict=True)
    for shifts, length in ((down, 61), (right, 101)):
        assert -0.082 * length < min(shifts) < -0.07 * length
        assert 0.07 * length < max(shifts) < 0.082 * length


def test_brightness_changes_by_a_fifth_at_most_and_ends_at_255() -> None:
    levels = many(torch.full((1, 1, 8, 8), 100, dtype=torch.uint8), brightness=0.2)[:, 0, 4, 4]
    assert 79.9 < levels.min() < 83
    assert 117 < levels.max() < 120.1
    assert many(torch.full((1, 1, 8, 8), 250, dtype=torch.uint8), brightness=0.2).max() == 255


def test_the_default_ranges_are_those_of_the_design() -> None:
    augmentation = Augmentation()
    ranges = (augmentation.degrees, augmentation.zoom, augmentation.shift, augmentation.brightness)
    assert ranges == (15.0, 0.15, 0.08, 0.2)


def test_strength_scales_every_change_but_the_flip() -> None:
    whole, half, none = (Augmentation.of_strength(strength) for strength in (1.0, 0.5, 0.0))
    assert whole == Augmentation()
    assert half == Augmentation(degrees=7.5, zoom=0.075, shift=0.04, brightness=0.1)
    assert Augmentation.of_strength(0.5, acquisition=Acquisition()).acquisition == Acquisition().scaled(0.5)
    image = noise()
    changed = none(image.repeat(16, 1, 1, 1))
    either = torch.stack([image[0].float(), image[0].flip(-1).float()])
    assert all(min(float((one - other).abs().max()) for other in either) < 1e-2 for one in changed)
