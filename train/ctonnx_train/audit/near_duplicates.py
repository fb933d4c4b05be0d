"""Near duplicates: images whose perceptual hashes differ in few bits."""

from collections.abc import Sequence

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["HASH_BITS", "NEAR_DISTANCE", "group_near_duplicates", "perceptual_hash"]

_HASH_SIDE = 16

HASH_BITS = _HASH_SIDE**2
"""Bits of an image's perceptual hash: the signs of the lowest 16 x 16 frequencies of its cosine transform."""

NEAR_DISTANCE = 16
"""Maximum number of bits in which the hashes of near duplicates differ.

In the public chest-CT set, pairs below 20 bits were the same scan, scaled, recompressed or with drawings; from about 26
bits on, they were neighbouring slices of one patient.
"""


def perceptual_hash(image: Image.Image) -> NDArray[np.bool_]:
    """Returns the pHash of an image (http://www.phash.org): bool [HASH_BITS]."""
    bits: NDArray[np.bool_] = imagehash.phash(image, hash_size=_HASH_SIDE).hash.ravel()
    return bits


def group_near_duplicates(hashes: Sequence[NDArray[np.bool_]], distance: int = NEAR_DISTANCE) -> list[int]:
    """Returns the number of each image's group: images within `distance` bits, directly or through others."""
    if not hashes:
        return []
    bits = np.array(hashes, np.float32)
    ones = bits.sum(axis=1)
    pairs = []
    for start in range(0, len(bits), 1024):  # in blocks: all distances of a large dataset would not fit in memory
        block = slice(start, start + 1024)
        distances = ones[block, None] + ones[None] - 2 * bits[block] @ bits.T
        rows, columns = np.nonzero(distances <= distance)
        pairs.append(np.stack([rows + start, columns]))
    rows, columns = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(bits), len(bits)))
    _, numbers = connected_components(graph, directed=False)
    found: list[int] = numbers.tolist()
    return found
