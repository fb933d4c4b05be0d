"""Batches of images for training and validation, in an order that the seed and the epoch alone decide."""

import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ctonnx.system.cpu import available_cores
from ctonnx_train.data.pixel_store import PixelStore
from ctonnx_train.network.openmp import unpin_thread

__all__ = ["Batch", "EpochSampler", "PixelDataset", "batches"]

Batch = tuple[Tensor, Tensor]
"""uint8 images [batch, channels, size, size] and int64 labels [batch]."""

_WORKERS = 4  # at most: more than there are cores would wait for each other, and torch warns of them


class PixelDataset(Dataset[Batch]):
    """Labelled images of a store, taken a batch at a time.

    Args:
        store: The images.
        rows: which of them.
        labels: Class index of each row.
    """

    def __init__(self, store: PixelStore, rows: Sequence[int], labels: Sequence[int]) -> None:
        self._store = store
        self._rows = list(rows)
        self._labels = torch.tensor(labels, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Batch:
        """Returns a batch of one image."""
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        """Returns a batch."""
        pixels = self._store.take([self._rows[index] for index in indices])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), self._labels[indices]

    @property
    def in_memory(self) -> bool:
        """Whether no image has to be decoded again."""
        return max(self._rows, default=0) < self._store.kept


class EpochSampler(Sampler[int]):
    """The order of an epoch's images, the same for the same seed and epoch, dealt to the processes in turn.

    Args:
        count: how many images there are.
        seed: of the order.
        weights: of the images, which are then drawn with replacement; None takes each once.
        rank: This process.
        world: how many processes there are. Each gets the same number of images, so that none waits for another's
            gradients: the first images of the order may come twice.
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
        """Chooses the epoch; Lightning calls it before each."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Yields this process's images."""
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
    """Returns the loader of a data set's batches.

    A batch of images in memory is one copy of bytes: no worker process could make it faster than it is handed over.
    Where images must be decoded anew, worker processes do it ahead.

    Args:
        dataset: The images.
        batch_size: Images a batch.
        sampler: Their order.
        on_gpu: Whether the batches go to a GPU: then they lie in pinned memory, which is copied while it computes.
        drop_last: Whether a smaller last batch is left out.
    """
    can_fork = "fork" in multiprocessing.get_all_start_methods()
    workers = min(_WORKERS, available_cores()) if can_fork and not dataset.in_memory else 0
    return DataLoader(
        dataset,
        batch_size,
        sampler=sampler,
        drop_last=drop_last,
        collate_fn=_as_it_is,
        pin_memory=on_gpu,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=unpin_thread,
        multiprocessing_context="fork" if workers else None,  # shares the images that are kept, and copies none
        generator=torch.Generator(),  # else it draws from the default one, in a resumed epoch at another place
    )


def _as_it_is(batch: Any) -> Any:
    """Stands in for the collation: the data set gives whole batches."""
    return batch
