"""Groups of images by their perceptual hashes: connected through others, and in blocks of a large set."""

import numpy as np
from PIL import Image

from ctonnx_train.audit.near_duplicates import HASH_BITS, group_near_duplicates, perceptual_hash


def hash_with(*bits: int) -> np.ndarray:
    found = np.zeros(HASH_BITS, bool)
    found[list(bits)] = True
    return found


def test_hash_survives_another_size() -> None:
    blots = np.random.default_rng(0).integers(0, 256, (12, 12), dtype=np.uint8)
    small, large = (Image.fromarray(blots).resize((side, side), Image.Resampling.BICUBIC) for side in (96, 200))
    assert perceptual_hash(small).shape == (HASH_BITS,)
    assert (perceptual_hash(small) != perceptual_hash(large)).sum() <= 2


def test_images_are_grouped_through_others() -> None:
    first, second, third, other = hash_with(), hash_with(0, 1), hash_with(0, 1, 2, 3), hash_with(9, 10, 11, 12, 13)
    assert group_near_duplicates([first, third, other, second], 2) == [0, 0, 1, 0]
    assert group_near_duplicates([first, third, other], 2) == [0, 1, 2]


def test_no_images_have_no_groups() -> None:
    assert group_near_duplicates([]) == []


def test_images_of_different_blocks_are_compared() -> None:
    hashes = [hash_with(*np.flatnonzero(np.random.default_rng(row).random(HASH_BITS) < 0.5)) for row in range(1030)]
    numbers = group_near_duplicates([*hashes, hashes[0]], 16)
    assert numbers[-1] == numbers[0]
    assert len(set(numbers)) == 1030
