"""Images as tensors: decoding as prediction does it, unreadable files, and augmentation."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ctonnx.errors import DataError
from ctonnx.images import Color, Preprocessing, Resize, load, to_pixels
from ctonnx_train.dataset import Augmentation, PixelDataset, decode
from ctonnx_train.splits import Sample

ImagesIn: TypeAlias = Callable[[Path, Mapping[str, int]], Path]


@pytest.fixture
def scans(tmp_path: Path) -> tuple[Path, list[Sample]]:
    """Six images of many kinds and sizes, and their samples in no order."""
    rng = np.random.default_rng(3)
    for number, (mode, channels) in enumerate((("L", 1), ("RGB", 3), ("RGBA", 4), ("L", 1), ("RGB", 3), ("L", 1))):
        shape = (30 + 9 * number, 70 - 5 * number, channels)[: 2 if channels == 1 else 3]
        image = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        assert image.mode == mode
        image.save(tmp_path / f"{number}.png")
    return tmp_path, [Sample(f"{number}.png", number % 2) for number in (4, 0, 5, 2, 1, 3)]


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize(("color", "channels"), [("grey", 1), ("rgb", 3)])
def test_decoded_pixels_are_those_of_prediction_in_the_samples_order(
    color: Color, channels: int, resize: Resize, scans: tuple[Path, list[Sample]]
) -> None:
    root, samples = scans
    preprocessing = Preprocessing(size=32, color=color, resize=resize)
    pixels = decode(root, samples, preprocessing)
    assert pixels.shape == (6, 32, 32, channels)
    assert pixels.dtype == np.uint8
    for row, sample in zip(pixels, samples, strict=True):
        expected = to_pixels(load(root / sample.path), preprocessing)
        np.testing.assert_array_equal(np.broadcast_to(row, expected.shape), expected)


def test_progress_is_told_once_an_image_whether_it_can_be_read_or_not(scans: tuple[Path, list[Sample]]) -> None:
    root, samples = scans
    (root / "2.png").write_bytes(b"")
    steps: list[int] = []
    with pytest.raises(DataError):
        decode(root, samples, Preprocessing(size=32), steps.append)
    assert steps == [1] * 6


def test_no_images_are_an_empty_array(tmp_path: Path) -> None:
    assert decode(tmp_path, [], Preprocessing(size=32)).shape == (0, 32, 32, 1)


def test_one_unreadable_file_is_named(scans: tuple[Path, list[Sample]]) -> None:
    root, samples = scans
    (root / "2.png").write_bytes(b"")
    message = (
        f"expected 6 readable images, found 1 that are not: {root / '2.png'}: the file is empty (0 bytes); "
        "mend these files or move them out of the data folder"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        decode(root, samples, Preprocessing(size=32))


def test_of_many_unreadable_files_the_first_three_are_named(scans: tuple[Path, list[Sample]]) -> None:
    root, samples = scans
    for name in ("0.png", "1.png"):
        (root / name).write_text("not an image", encoding="utf-8")
    (root / "2.png").write_bytes(b"")
    (root / "5.png").unlink()
    message = (
        f"expected 6 readable images, found 4 that are not: {root / '0.png'}: not an image in a format that can be "
        f"read; {root / '5.png'}: cannot be read: no such file; {root / '2.png'}: the file is empty (0 bytes); ...; "
        "mend these files or move them out of the data folder"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        decode(root, samples, Preprocessing(size=32))


def test_a_data_set_gives_images_channels_first_with_their_labels() -> None:
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    images = PixelDataset(pixels, [1, 0])
    assert len(images) == 2
    image, label = images[1]
    assert (image.dtype, label) == (torch.uint8, 0)
    np.testing.assert_array_equal(image.numpy(), pixels[1].transpose(2, 0, 1))


def test_a_data_set_augments_each_time_anew_and_keeps_its_images() -> None:
    pixels = np.full((1, 4, 4, 1), 7, np.uint8)
    counted = iter(range(10))

    def augmentation(image: Tensor) -> Tensor:
        return image + next(counted)

    images = PixelDataset(pixels, [0], augmentation)
    assert [int(images[0][0].max()) for _ in range(3)] == [7, 8, 9]
    assert (pixels == 7).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_augmentation_keeps_shape_and_type_and_leaves_its_input_alone(channels: int) -> None:
    image = torch.randint(0, 256, (channels, 40, 40), dtype=torch.uint8)
    before = image.clone()
    changed = Augmentation()(image)
    assert (changed.shape, changed.dtype) == (image.shape, torch.uint8)
    assert torch.equal(image, before)
    changed.zero_()
    assert torch.equal(image, before)


def test_augmentation_varies_and_the_same_seed_repeats_it() -> None:
    image = torch.randint(0, 256, (1, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    augmentation = Augmentation()

    def eight(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        return [augmentation(image) for _ in range(8)]

    first, again, other = eight(1), eight(1), eight(2)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(torch.equal(one, two) for one, two in zip(first, other, strict=True))
    assert len({bytes(one.numpy()) for one in first}) == 8


def test_augmentation_of_nothing_is_at_most_a_mirror() -> None:
    image = torch.randint(0, 256, (1, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    nothing = Augmentation(degrees=0, zoom=0, shift=0, brightness=0)
    torch.manual_seed(0)
    seen = {bytes(nothing(image).numpy()) for _ in range(20)}
    assert seen == {bytes(image.numpy()), bytes(image.flip(2).contiguous().numpy())}


def test_augmentation_changes_brightness_by_a_fifth_at_most() -> None:
    image = torch.full((1, 40, 40), 100, dtype=torch.uint8)
    brightness = Augmentation(degrees=0, zoom=0, shift=0)
    torch.manual_seed(0)
    levels = [int(brightness(image).max()) for _ in range(50)]
    assert 79 <= min(levels) < 85
    assert 115 < max(levels) <= 120
