"""Changes of the acquisition: each on its share of the images, within 0 to 255."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ctonnx_train.training.loop.acquisition import (
    Acquisition,
    blurred,
    compressed,
    contrasted,
    gamma_corrected,
    with_noise,
)
from ctonnx_train.training.loop.augmentation import Augmentation

NOTHING = Acquisition(tone_share=0, shape_share=0, blur_share=0, noise_share=0, jpeg_share=0)
STILL = {"degrees": 0.0, "zoom": 0.0, "shift": 0.0}


def ramp(batch: int = 1, size: int = 32) -> Tensor:
    """Returns grey images that brighten from left to right."""
    return torch.linspace(0, 255, size).view(1, 1, 1, size).repeat(batch, 3, size, 1)


def anatomy(size: int = 64) -> Tensor:
    """Returns a smooth bright disc on black, as uint8 [1, 3, size, size]."""
    places = torch.arange(size) - (size - 1) / 2
    distance = (places.view(-1, 1) ** 2 + places**2).sqrt() / size
    disc = (200 * (0.46 - distance).clamp(0, 0.06) / 0.06).round().byte()
    return disc.expand(1, 3, size, size).clone()


def test_contrast_stretches_the_distance_from_a_grey_value_and_an_offset_shifts_the_window() -> None:
    images = torch.tensor([60.0, 100.0, 140.0]).view(1, 1, 1, 3).repeat(3, 1, 1, 1)
    changed = contrasted(
        images, torch.tensor([0.6, 1.5, 1.0]), torch.tensor([100.0, 0, 50]), torch.tensor([0.0, 0, 25])
    )
    assert changed.view(3, 3).tolist() == [
        pytest.approx([76, 100, 124]),
        pytest.approx([90, 150, 210]),
        pytest.approx([85, 125, 165]),
    ]


def test_gamma_keeps_black_and_white_and_moves_the_middle() -> None:
    images = torch.tensor([0.0, 127.5, 255.0]).view(1, 1, 1, 3).repeat(2, 1, 1, 1)
    changed = gamma_corrected(images, torch.tensor([0.5, 2.0])).view(2, 3)
    assert changed[0].tolist() == pytest.approx([0, 255 * math.sqrt(0.5), 255], abs=1e-3)
    assert changed[1].tolist() == pytest.approx([0, 63.75, 255], abs=1e-3)


def test_blur_spreads_a_point_with_the_images_own_deviation_and_keeps_its_sum() -> None:
    images = torch.zeros(2, 3, 17, 17)
    images[:, :, 8, 8] = 100
    deviations = torch.tensor([0.6, 0.9])
    places = torch.arange(17) - 8.0
    for image, expected in zip(blurred(images, deviations), deviations.tolist(), strict=True):
        assert float(image[0].sum()) == pytest.approx(100, abs=1e-3)
        for sums in (image[0].sum(0), image[0].sum(1)):
            assert float((sums * places**2).sum() / 100) == pytest.approx(expected**2, rel=0.05)


def test_blur_leaves_a_flat_image_alone_to_its_borders() -> None:
    flat = torch.full((1, 1, 9, 9), 90.0)
    torch.testing.assert_close(blurred(flat, torch.tensor([1.2])), flat)


def test_noise_has_the_images_own_deviation_and_is_grey() -> None:
    torch.manual_seed(0)
    changed = with_noise(torch.full((2, 3, 128, 128), 128.0), torch.tensor([4.0, 10.0]))
    assert torch.equal(changed[:, 0], changed[:, 2])
    assert changed[:, 0].std((1, 2)).tolist() == pytest.approx([4.0, 10.0], rel=0.05)
    assert changed.mean((1, 2, 3)).tolist() == pytest.approx([128.0, 128.0], abs=0.3)


@pytest.mark.parametrize("quality", [20, 50, 85])
def test_compression_is_what_jpeg_makes_of_a_grey_image(quality: int) -> None:
    image = np.random.default_rng(0).integers(60, 200, (5, 7)).astype(np.uint8)
    large = Image.fromarray(image).resize((64, 48), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    large.save(file, format="JPEG", quality=quality)
    expected = np.asarray(Image.open(file)).astype(float)
    images = torch.from_numpy(np.array(large)).float().expand(1, 3, 48, 64)
    changed = compressed(images, torch.tensor([float(quality)]))
    assert torch.equal(changed[:, 0], changed[:, 1])
    # All but what the codec's whole numbers round to the other side, and the rounding of its pixels.
    assert np.mean(np.abs(changed[0, 0].numpy() - expected) < 1) > 0.9


def test_strong_compression_makes_steps_at_the_edges_of_8_x_8_blocks() -> None:
    steps = compressed(100 + ramp(size=64) / 10, torch.tensor([5.0]))[0, 0, 0].diff().abs()
    edges = torch.arange(63) % 8 == 7
    assert float(steps[edges].max()) > 5
    assert float(steps[~edges].max()) < 1e-3


@pytest.mark.parametrize("size", [(20, 24), (7, 9), (8, 8)])
def test_compression_keeps_any_height_and_width(size: tuple[int, int]) -> None:
    images = torch.full((2, 1, *size), 77.0)
    changed = compressed(images, torch.tensor([60.0, 90.0]))
    assert changed.shape == images.shape
    assert (changed - images).abs().max() < 3


def test_padding_keeps_the_anatomy_in_the_middle_and_its_border_is_black() -> None:
    torch.manual_seed(0)
    padding = replace(NOTHING, shape_share=1.0, smallest_side=0.6, largest_side=1.0)
    images = torch.full((64, 3, 60, 60), 200, dtype=torch.uint8)
    changed = Augmentation(**STILL, acquisition=padding)(images)[:, 0]
    widths, heights = ((changed > 100).any(across).sum(1) for across in (1, 2))
    assert torch.equal(widths.clamp(max=heights) < 60, widths != heights)  # one side is shorter
    assert set(torch.maximum(widths, heights).tolist()) == {60}
    assert 35 <= min(widths.min(), heights.min()) < 42
    for image in changed:
        for along in (0, 1):
            torch.testing.assert_close(image, image.flip(along), atol=0.01, rtol=0)
    assert float(changed.amin((1, 2)).max()) < 200
    assert float(changed[widths < 54, :, 0].max()) == 0


def test_stretching_crops_and_half_of_the_images_keep_their_shape() -> None:
    torch.manual_seed(0)
    acquisition = replace(NOTHING, shape_share=0.5, smallest_side=1.0, largest_side=1.15)
    width, height = acquisition.sides(400, torch.device("cpu"))
    kept = (width == 1) & (height == 1)
    assert 150 < int(kept.sum()) < 250
    assert ((width == 1) | (height == 1)).all()
    assert 1.13 < float(torch.maximum(width, height).max()) <= 1.15001
    changed = Augmentation(**STILL, acquisition=replace(acquisition, shape_share=1.0))(anatomy().repeat(32, 1, 1, 1))
    assert float(changed[:, 0, 32, 32].min()) > 195


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({"tone_share": 0.75}, 12),
        ({"blur_share": 0.25}, 4),
        ({"noise_share": 0.25}, 4),
        ({"jpeg_share": 0.125}, 2),
        ({"jpeg_share": 0.01}, 1),
        ({}, 0),
    ],
)
def test_each_change_meets_its_share_of_the_images(shares: dict[str, float], expected: int) -> None:
    torch.manual_seed(0)
    images = anatomy().float().repeat(16, 1, 1, 1)
    changed = replace(NOTHING, **shares)(images.clone())
    assert int(((changed - images).abs().amax((1, 2, 3)) > 0).sum()) == expected


def test_the_tones_differ_by_what_a_normalized_intensity_leaves() -> None:
    torch.manual_seed(0)
    flat = torch.full((300, 1, 4, 4), 100.0)
    levels = replace(NOTHING, tone_share=1.0)(flat)[:, 0, 0, 0]
    assert float(levels.min()) < 80
    assert float(levels.max()) > 120


def test_a_part_of_the_progress_changes_that_part_of_the_images() -> None:
    half = Acquisition().scaled(0.5)
    assert half.tone_share == Acquisition.tone_share / 2
    assert half.shape_share == Acquisition.shape_share / 2
    assert half.contrast == Acquisition.contrast
    assert Acquisition().scaled(1.0) == Acquisition()


def test_all_changes_together_stay_within_0_to_255_and_differ_for_each_image() -> None:
    torch.manual_seed(1)
    images = anatomy(40).repeat(24, 1, 1, 1)
    before = images.clone()
    changed = Augmentation(acquisition=Acquisition())(images, 32)
    assert (changed.shape, changed.dtype, changed.device) == ((24, 3, 32, 32), torch.float32, images.device)
    assert 0 <= changed.min() <= changed.max() <= 255
    assert changed.isfinite().all()
    assert len({bytes(image.numpy()) for image in changed}) == 24
    assert torch.equal(images, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_changes_nothing(dtype: torch.dtype) -> None:
    found = []
    for enabled in (True, False):
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype, enabled=enabled):
            found.append(Augmentation(acquisition=Acquisition())(anatomy().repeat(16, 1, 1, 1)))
    assert found[0].dtype == torch.float32
    assert torch.equal(*found)


def test_no_image_is_inverted() -> None:
    torch.manual_seed(2)
    changed = Augmentation(acquisition=Acquisition())(anatomy().repeat(64, 1, 1, 1))
    assert (changed[:, 0, 28:36, 28:36].mean((1, 2)) >= changed[:, 0, :4, :4].mean((1, 2))).all()


def test_the_same_seed_repeats_the_changes_and_another_does_not() -> None:
    def made(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return Augmentation(acquisition=Acquisition())(anatomy().repeat(8, 1, 1, 1))

    assert torch.equal(made(1), made(1))
    assert not torch.equal(made(1), made(2))
