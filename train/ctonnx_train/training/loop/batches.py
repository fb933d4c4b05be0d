"""Batches of images for training and validation, in an order that depends only on the seed and the epoch."""

import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ctonnx.system.cpu import available_cores
from ctonnx_train.data.pixel_store import PixelArray, PixelStore
from ctonnx_train.network.openmp import unpin_thread

__all__ = ["Batch", "EpochSampler", "PixelDataset", "batches"]

Batch = tuple[Tensor, Tensor]
"""uint8 images [batch, channels, size, size] and int64 labels [batch]."""

_WORKERS = 4  # at most; no more than cores, since PyTorch warns about more


class PixelDataset(Dataset[Batch]):
    """Labelled images of a store, of one class index per row, read in batches."""

    def __init__(self, store: PixelStore | PixelArray, rows: Sequence[int], labels: Sequence[int]) -> None:
        self._store = store
        self._rows = list(rows)
        self._labels = torch.tensor(labels, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Batch:
        """Returns a batch with a single image."""
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        """Returns a batch of images."""
        pixels = self._store.take([self._rows[index] for index in indices])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), self._labels[indices]

    @property
    def in_memory(self) -> bool:
        """Whether all images are kept in memory."""
        return max(self._rows, default=0) < self._store.kept


class EpochSampler(Sampler[int]):
    """Order of an epoch's images, determined by seed and epoch, and dealt to the processes in turn.

    Args:
        count: Number of images.
        seed: Random seed of the order.
        weights: Weights for drawing images with replacement; None takes each image once.
        rank: Rank of this process.
        world: Number of processes. Each gets the same number of images, so that none waits for another's gradients;
            the first images of the order may be used twice.
    """

    def __init__(
        self, count: int, *, seed: int, weights: Sequence[float] | None = None, rank: int = 0, world: int = 1
    ) -> None:
        self._count = count
        self._seed = seed
        self._weights = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        self._rank = rank
        self._world = world
        self._epoch = 0

    def __len__(self) -> int:
        return -(-self._count // self._world)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch; Lightning calls it before each epoch."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Yields the images of this process."""
        generator = torch.Generator().manual_seed((self._seed << 20) + self._epoch)
        if self._weights is None:
            order = torch.randperm(self._count, generator=generator)
        else:
            order = torch.multinomial(self._weights, self._count, replacement=True, generator=generator)
        order = torch.cat([order, order])[: len(self) * self._world]
        yield from order[self._rank :: self._world].tolist()


def batches(
    dataset: PixelDataset, batch_size: int, sampler: Sampler[int] | Sequence[int], *, on_gpu: bool, drop_last: bool
) -> DataLoader[Batch]:
    """Returns a loader of batches.

    A batch of images in memory is a single copy of bytes, which worker processes would not make faster. Images that
    must be decoded again are decoded ahead by worker processes. A GPU copies pinned memory while it computes.
    """
    can_fork = "fork" in multiprocessing.get_all_start_methods()
    workers = min(_WORKERS, available_cores()) if can_fork and not dataset.in_memory else 0
    return DataLoader(
        dataset,
        batch_size,
        sampler=sampler,
        drop_last=drop_last,
        collate_fn=_identity,
        pin_memory=on_gpu,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=unpin_thread,
        multiprocessing_context="fork" if workers else None,  # shares the images in memory
        generator=torch.Generator(),  # the default generator is in another state in a resumed epoch
    )


def _identity(batch: Any) -> Any:
    """Replaces the collation: `PixelDataset` returns complete batches."""
    return batch
